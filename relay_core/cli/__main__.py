"""`python -m relay_core.cli` is `relay`."""

from relay_core.cli import main

main()
