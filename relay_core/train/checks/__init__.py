"""What `python -m relay_core.train check` looks at, before anything long starts.

findings.py    what a check found; what all checks share
values.py      the recipe's values: packages, policy, batches, TRL's configurations. Cheap: every stage begins with it
data.py        problems, answers, grader
student.py     the student's chat template, end tokens, prompts, and the command in its vocabulary
machine.py     memory and disk
trial.py       a call to the teacher, and a few answers
"""
