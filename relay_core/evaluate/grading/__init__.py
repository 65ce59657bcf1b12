r"""Whether an answer in mathematics is right: one door to math-verify, which knows its traps.

    final_answer.py   the final answer that a text states, such as the content of `\boxed{...}`
    notation.py       one notation for what can be written in several ways
    quantity.py       numbers as exact fractions: 1,000, 3.8e35, \frac{1}{2}, 50%
    structure.py      tuples, intervals, sets, lists, matrices, and their elements
    compare.py        whether two answers are equal: all of this, and math-verify for what is left
    worker.py         the process in which math-verify runs, and the time limit of a comparison
    server.py         what runs in that process
    values.py         whether the values of two expressions are equal

What these modules decide themselves, because math-verify 0.9.0 errs there:

- Two numbers are equal if their values are. math-verify rounds to 6 decimals and drops small terms, so that 1/2^99 and
  1/2^98 are equal, and 3.6e-10 and 0.
- `{1,2}` is a set and `(1,2)` a tuple or an interval. A bare `1,3` is a list of two, and `1,000` a thousand.
- 50% against a right answer with a percent sign is a number of per cent (50%, 50). Against one without, it is a share
  (0.5) if the right answer is at most 1, else a number of per cent (50).
- `\sqrt(2)` is `\sqrt{2}`. y' is not y, and 52_8 is not 52_9. Where an expression has M and m, they are two variables.
- A text states its answer in the last `\boxed{...}`, even if the text ends before the box is closed.
"""
