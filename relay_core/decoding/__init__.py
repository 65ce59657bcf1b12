"""How one answer is written: the student's turns, the calls between them, and the budgets of both models.

loop.py           the student's turn, the call, the result
student_text.py   takes the student's tokens; returns text for the reader, and at most one call
triggers.py       what makes a call
hidden.py         the trigger that a head on the student's hidden state decides
prompts.py        the student's and the teacher's prompt at any moment
reader_view.py    the reader's text as ids in one model's vocabulary
budget.py         how many tokens each model may still write
engine_stream.py  the stream of one request to an engine, with its limit, usage and notes
warming.py        when an early stream of the teacher is begun, used or dropped
tally.py          tokens read and wasted, calls refused and malformed
deadline.py       waiting until a point in time
stop_strings.py   stop strings in the reader's text
"""
