"""Evaluation: tasks, and how well and how cheaply a method answers their problems.

    task.py           Problem, the protocol Task, and the task that a name, a path or a mapping means
    dataset.py        DatasetTask: JSONL and Parquet files and hub datasets as a task
    dataset_rows.py   reads rows from a file or from the hub
    splits.py         divides problems into splits and draws some of a split
    graders.py        graders by name: exact, regex, choice, number, math, or a function of your own
    measure.py        one method on one set of problems: accuracy, calls, tokens, cost
    comparison.py     student, relay and teacher measured on a task, as one table

Nothing here imports the bundled task, unless a user names it.
"""
