"""Evaluation: tasks, and measurements of how well and how cheaply a method answers their problems.

    task.py           Problem, the protocol Task, and the task that a spec names
    dataset.py        DatasetTask: JSONL and Parquet files and hub datasets as a task
    dataset_rows.py   reads the rows of a dataset from a file or from the hub
    splits.py         divides problems into splits, and draws problems from a split
    graders.py        graders by name: exact, regex, choice, number, math, or a function of your own
    measure.py        measures one method on some problems: accuracy, calls, tokens, cost
    comparison.py     measures student, relay and teacher on a task, as one table

The modules of this folder import the bundled task only if a user names it.
"""
