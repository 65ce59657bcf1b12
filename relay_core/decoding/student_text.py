"""The student's tokens in; text for the reader, and at most one call, out.

Tokens go to the transcript and their text to the scanner. Text that may yet become a command waits, with the ids of
the tokens that it belongs to; text that is decided goes through the stop strings to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay_core.command import Call, CommandScanner, Malformed, Piece, Text
from relay_core.decoding.stop_strings import StopFilter, coalesce
from relay_core.decoding.tally import Tally
from relay_core.decoding.triggers import Candidate, Decider
from relay_core.engines.base import Token
from relay_core.events import TextDelta
from relay_core.transcript import Author, Transcript


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call to make now: ``requested`` tokens were asked for, ``tokens`` are allowed."""

    requested: int
    tokens: int


class StudentText:
    """What the student has written, as far as the reader may see it.

    Args:
        transcript: where the tokens go.
        stops: the stop strings of the reader's text.
        decider: the answer's trigger.
        allow: teacher tokens that a call for so many may have now; 0 refuses it.
        tally: where refused and malformed commands are counted.
    """

    def __init__(
        self, transcript: Transcript, stops: StopFilter, decider: Decider, allow: Callable[[int], int], tally: Tally
    ) -> None:
        self._transcript, self._stops, self._decider = transcript, stops, decider
        self._allow, self._tally = allow, tally
        self._scanner = CommandScanner()
        #: tokens whose text is not decided: (where it ends in the student's stream, entry of the transcript, id)
        self._waiting: list[tuple[int, int, int | None]] = []
        self._call: PendingCall | None = None

    @property
    def has_call(self) -> bool:
        """Whether a call is to be made now."""
        return self._call is not None

    def take_call(self) -> PendingCall | None:
        """The call to make now, if there is one; it is handed out once."""
        call, self._call = self._call, None
        return call

    @property
    def open_command(self) -> int | None:
        """Where in the student's stream of text a command is open that may yet be closed; ``None`` where none is."""
        if not self._scanner.is_open:
            return None
        return self._transcript.student_offset - len(self._scanner.held)

    def take(self, tokens: Sequence[Token]) -> list[TextDelta]:
        """Append tokens up to the first call; returns what the reader may see of them now."""
        deltas: list[TextDelta] = []
        for token in tokens:
            if self._decider.reads_tokens and self._calls_instead_of(token):
                deltas += self._release_held()
                break
            if token.is_tool_call:
                deltas += self._release_held()
            self._transcript.add_student(token.id, token.text, token.logprob)
            text = token.text
            if token.is_tool_call:
                deltas += self._stops.pass_by(TextDelta(Author.STUDENT, text))
                continue
            if not self._waiting and not self._scanner.held and text and "<" not in text:
                ids = () if token.id is None else (token.id,)
                deltas += self._stops.feed(TextDelta(Author.STUDENT, text, ids))
            else:
                self._waiting.append((self._transcript.student_offset, len(self._transcript) - 1, token.id))
                deltas += self._scan(token)
            if self._call is not None or self._stops.hit is not None:
                break
        return coalesce(deltas)

    def flush(self, *, cut_off: bool) -> list[TextDelta]:
        """End the answer: what was held back is ordinary text, or a command cut off.

        Args:
            cut_off: a budget ended the answer, not the student.
        """
        return self._release_held(cut_off=cut_off) + self._stops.flush()

    # -- deciding ------------------------------------------------------------------------------------------

    def _calls_instead_of(self, token: Token) -> bool:
        """Whether the trigger calls in place of this token, and the budgets allow it."""
        requested = self._decider.before_token(Candidate(token, len(self._transcript)))
        return requested > 0 and self._opens(requested)

    def _opens(self, requested: int) -> bool:
        """Open a call if the budgets allow any token of it."""
        tokens = self._allow(requested)
        if tokens > 0:
            self._call = PendingCall(requested, tokens)
        return tokens > 0

    def _scan(self, token: Token) -> list[TextDelta]:
        """Feed one token's text to the scanner and handle what that decides."""
        decided = self._transcript.student_offset - len(token.text) - len(self._scanner.held)
        deltas: list[TextDelta] = []
        pieces = self._scanner.feed(token.text)
        for i, piece in enumerate(pieces):
            begin, decided = decided, decided + len(_source(piece))
            deltas += self._pass_on(piece, begin, decided)
            if not isinstance(piece, Call):
                continue
            if self._call is not None or not self._opens(self._decider.on_command(piece)):
                self._tally.refused += 1  # a budget forbids it, or this token has made its one call already
            elif token.id is None:  # a text-only engine wrote on behind the command; that text is taken back
                behind = [*pieces[i + 1 :], *self._scanner.flush()]
                self._transcript.drop_tail(sum(len(_source(piece)) for piece in behind))
                self._waiting.clear()
                break
        return deltas + self._release_held() if self._call is not None else deltas

    def _release_held(self, *, cut_off: bool = False) -> list[TextDelta]:
        """Pass on what the scanner holds back: no call comes of it any more."""
        end = self._transcript.student_offset - len(self._scanner.held)
        deltas: list[TextDelta] = []
        for piece in self._scanner.flush(cut_off=cut_off):
            begin, end = end, end + len(_source(piece))
            deltas += self._pass_on(piece, begin, end)
        return deltas + self._show("", end)

    def _pass_on(self, piece: Piece, begin: int, end: int) -> list[TextDelta]:
        """Show text and hide commands; the piece stands at characters ``begin`` to ``end`` of the student's stream."""
        if isinstance(piece, Text):
            return self._show(piece.text, end)
        self._tally.malformed += isinstance(piece, Malformed)
        return self._hide(begin, end)

    def _show(self, text: str, end: int) -> list[TextDelta]:
        """Pass on ordinary text that ends at character ``end`` of the student's stream, with the ids it completes."""
        ids = []
        while self._waiting and self._waiting[0][0] <= end:
            _, index, token_id = self._waiting.pop(0)
            if token_id is not None and not self._transcript.is_command(index):
                ids.append(token_id)
        return self._stops.feed(TextDelta(Author.STUDENT, text, tuple(ids))) if text or ids else []

    def _hide(self, begin: int, end: int) -> list[TextDelta]:
        """Mark characters ``begin`` to ``end`` as a command; tokens without text before it are passed on first."""
        deltas = self._show("", begin)
        self._transcript.mark_command(begin, end)
        self._waiting = [token for token in self._waiting if token[0] > end]
        return deltas


def _source(piece: Piece) -> str:
    """The text that a piece was written as."""
    return piece.source if isinstance(piece, Call | Malformed) else piece.text
