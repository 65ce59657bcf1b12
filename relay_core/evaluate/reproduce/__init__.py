"""The paper's tables and figures for a pair of models: ``python -m relay_core.evaluate.reproduce``.

__main__.py     the command line
reproduction.py trains what is missing, evaluates with every seed, writes the page
pairs.py        the pairs: models, benchmarks, methods, and the students of the paper's ablations
beside.py       evaluates several seeds beside each other, a process each
students.py     finds the students of a pair, and trains those that are missing
paper.py        the paper's own figures (arXiv 2601.05167), and what it says of each comparison
sections.py     the tables, ours beside the paper's
page.py         the page with all of them
"""
