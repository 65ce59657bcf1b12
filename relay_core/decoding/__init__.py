"""What one answer does: the student's turns, the calls between them, and what both may still write.

loop.py           the student's turn, the call, the result
student_text.py   tokens in; text for the reader, and at most one call, out
triggers.py       what makes a call
prompts.py        the student's and the teacher's prompt at any moment
reader_view.py    the reader's text as ids in one model's vocabulary
budget.py         what may still be written, by whom
engine_stream.py  one request's stream, with its limit, usage and notes
warming.py        when the teacher is begun early, used, dropped
tally.py          tokens read, written and wasted
deadline.py       waiting until a point in time
stop_strings.py   stop strings in the reader's text
"""
