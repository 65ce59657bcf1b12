"""Training a student to call: warm-up, data filter, GRPO (paper, section 3); `python -m relay_core.train --help`.

    __main__.py      the command line
    recipe.py        a run's values, from a YAML file and flags; recipes/ holds the recipes that ship
    sections.py      the sections of a recipe, with what each value means
    stages.py        the stages of a run; each reads and writes files
    processes.py     the processes of a run, and what they tell each other
    jobs.py          many answers to sample, kept as they come; sampling.py: a model's own answers,
                     in this process (sampling_here.py) or in actors (sampling_over_ray.py)
    distill.py       before stage 1, if the recipe says so: rows of the teacher's own right answers
                     (teacher_answers.py)
    warmup.py        stage 1: commands at random places of the student's samples; sources.py: or rows from
                     guided.py (places.py, replay.py, trim.py), told.py or answers.py; blocked.py: what warm-up costs
    supervised.py    supervised training on the rows of either, with supervised_trainer.py
    problems.py      the training problems that each stage draws
    data_filter.py   stage 2: the problems that the teacher can answer
    grpo.py          stage 3: GRPO with TRL, put together from:
        policies/        where the student decodes during rollouts
        rollout.py       answers of the relay in the form that TRL expects: ids, mask, log-probabilities
        rewards.py       the reward of each answer in one group of answers
        scoring.py       a rollout's rewards, group by group
        grpo_trainer.py  TRL's trainer by a budget of tokens, the same on any number of processes
        microbatches.py  which rows are computed together; epoch_sampler.py: the order of the problems
        rollout_log.py   what is kept of a rollout: figures.py, records.py
    trainer.py       arguments and progress of TRL's trainers, and the stop at NaN
    checkpoints.py   the newest whole checkpoint, and what a full disk leaves
    models.py        a student's weights: the folder of an engine spec, the loaded model, an engine on it
    adapter_model.py a student whose LoRA adapter is trained
    plot.py          the plot of a run; cost.py: its time, and what the teacher read and wrote
    live_table.py    the last rollouts' figures on a terminal; reporting.py: TensorBoard, W&B and others
    selection.py     which of a run's recorded answers to show (`relay rollouts`)
    card.py          the model card of the trained student; base_model.py: what is known of its base; published.py: what
                     the public may see

Problems and grades come from a task (``relay_core.evaluate.task``); no module of this folder imports the bundled task.
"""
