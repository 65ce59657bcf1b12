"""Training a student to call: warm-up, data filter, GRPO (paper, section 3); `python -m relay_core.train --help`.

    __main__.py      the command line
    recipe.py        a run's values, from a YAML file and flags; recipes/ holds the recipes that ship
    stages.py        the stages of a run; each reads and writes files
    sampling.py      a model's answers to many problems, kept in a journal
    warmup.py        stage 1: commands at random places of the student's samples, and supervised training on these
    data_filter.py   stage 2: the problems that the teacher can answer
    grpo.py          stage 3: GRPO with TRL
    policy.py        the live weights, which rollouts and the trainer share
    rollout.py       answers of the relay in the form that TRL expects: ids, mask, log-probabilities
    rewards.py       the reward of each answer in one group of answers
    scoring.py       a rollout's rewards, group by group, and its figures
    trainer.py       arguments, checkpoints and progress of TRL's trainers
    unpadded.py      TRL's GRPO trainer without the work on padding
    models.py        a student's weights: the folder of an engine spec, the loaded model, an engine on it
    plot.py          the plot of a run

Problems and grades come from a task (``relay_core.evaluate.task``); no module of this folder imports the bundled task.
"""
