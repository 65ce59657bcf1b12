"""Evaluation: tasks, and measurements of how well and how cheaply a method answers their problems.

    task.py           Problem, the protocol Task, and the task that a spec names
    dataset.py        DatasetTask: JSONL and Parquet files and hub datasets as a task
    dataset_rows.py   reads the rows of a dataset from a file or from the hub
    splits.py         divides problems into splits, and draws problems from a split
    graders.py        graders by name: exact, regex, choice, number, math, or a function of your own
    grading/          the grader math: math-verify, in a process of its own, and what it errs in
    benchmarks/       the benchmarks of the paper's tables, each a task with the paper's prompt and settings
    measure.py        measures one method on some problems: accuracy, calls, tokens, cost
    comparison.py     measures student, relay and teacher on a task, as one table

What ``relay tune`` and ``relay audit`` do on a user's own prompts:

    prompts.py        reads prompts: columns, chat logs, lines of text, a task
    agreement.py      the score of an answer: right, or in agreement with the teacher's own answer
    answers.py        answers of methods to prompts, kept in a journal
    figures.py        a method's score, call ratio, calls, tokens, time and cost, with intervals
    intervals.py      confidence intervals: Wilson and bootstrap
    doubts.py         how sure the student is of its own tokens, and the call ratio that this foretells
    calibrate.py      finds the bound of a trigger at which a relay reaches a call ratio
    tune.py           chooses the bound and ``n`` of the triggers ``Uncertain`` and ``Hidden``
    objections.py     how unlikely the teacher finds each token of the student
    head_fit.py       logistic regressions on the student's hidden states, and their AUC
    tune_head.py      fits the head of the trigger ``Hidden``
    head_report.py    what a head is worth: AUCs, as text and JSON
    tune_report.py    the table, the sentence, the JSON and the picture of ``relay tune``
    audit.py          answers prompts by student, relay and teacher, within a spending limit
    audit_report.py   the table, the sentence and the JSON of ``relay audit``
    verdict.py        whether a relay pays

What a comparison of methods needs beside them:

    citer/            trains the head of the method ``citer``

Relays in other people's evaluation harnesses (docs/harnesses.md):

    harness.py        what the adapters share: answers, and the count of their tokens; harness_arguments.py: arguments
    lm_eval.py        EleutherAI's lm-evaluation-harness; lm_eval_options.py: the options of its tasks
    inspect_ai.py     Inspect; inspect_messages.py: its messages and tools; inspect_usage.py: its usage and prices
    lighteval.py      Hugging Face's lighteval

And what training uses, too:

    store.py          files that survive a kill: journals of JSON lines, JSON files that are written atomically
    ray_data.py       one async function of many items, on one or many machines; ray_actor.py: what runs there
    progress.py       the progress display: a bar, or plain lines
    table.py          a table as plain text
    chart.py          a chart of score against call ratio, as SVG

The modules of this folder import the bundled task only if a user names it.
"""
