"""CITER: a head that decides token by token whether the teacher writes instead of the student.

    python -m relay_core.evaluate.citer train --student SPEC --teacher SPEC --task bundled --problems 1000 --out FOLDER

The method is that of https://arxiv.org/abs/2502.01976: an MLP on the student's last hidden state predicts whether the
student's own token will do. If not, the teacher writes this one token. Every token of a right answer to a training
problem (the *reference*) is labelled by which model should write it, behind the part of the reference before it:

    the student's likeliest token is the reference's    the student
    only the teacher's is                               the teacher
    neither is                                          both are tried: each token is written and the answer finished;
                                                        the teacher where only its answer is right, else the student,
                                                        whose token costs less

The head is fitted to these preferences with the published loss, the cross-entropy of the preferred choice.

    references.py   right answers, and where each model would have written the same token
    rollouts.py     finishes the answers where neither would
    mlp.py          fits the two layers
    train.py        the rounds
    __main__.py     the command line

The last column says what is different here, as far as the paper's summaries and the project's notes on it tell:

    in the paper                                        here
    the reference is the dataset's solution             the task's solution (``Problem.solution``), or the teacher's own
                                                        right answer if the task has none
    rollouts follow the router, which is trained again  the same; in the first round, which has no router yet, each
    on the preferences that they give, in rounds        model finishes the answer that it began
    every place is rolled out                           at most ``--rollouts`` places of a reference, drawn by the seed
    both answers right or both wrong: by the reward,    the student
    which charges the cost
    hyperparameters of the paper's models               size, weight decay and epochs are chosen on validation problems
"""
