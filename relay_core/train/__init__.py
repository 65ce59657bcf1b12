"""Training a student to call: warm-up, filter, GRPO (paper, section 3). `python -m relay_core.train --help`."""
