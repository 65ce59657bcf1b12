"""``python -m relay_core.cli`` runs ``relay``."""

from relay_core.cli import main

main()
