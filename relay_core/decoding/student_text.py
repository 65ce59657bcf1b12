"""Takes the student's tokens, and returns text for the reader and at most one call.

Tokens are added to the transcript, and their text goes to the scanner. Text that may still become a command is held
back together with the ids of its tokens. All other text goes through the filter for stop strings to the reader.
Positions in the student's text are counted in student's characters, which ``transcript.py`` defines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay_core.command import Call, CommandScanner, Malformed, Piece, Text
from relay_core.decoding.engine_stream import count_tokens
from relay_core.decoding.stop_strings import StopFilter, coalesce
from relay_core.decoding.tally import Tally
from relay_core.decoding.triggers import REST, Candidate, Decider
from relay_core.engines.base import Token
from relay_core.events import TextDelta
from relay_core.transcript import Author, Transcript


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call to make: the trigger requested ``requested`` tokens, and the budgets allow ``tokens`` of them."""

    requested: int
    tokens: int


class StudentText:
    """Turns the student's tokens into the text that the reader may see, and finds the calls in them.

    Args:
        transcript: the transcript to which the tokens are added.
        stops: searches the reader's text for stop strings.
        decider: the answer's trigger.
        allowance: :meth:`~relay_core.decoding.budget.Budget.allowance` of the answer's budget.
        tally: counts refused and malformed commands, and discarded tokens.
        ends_in_character: returns whether ids of the student's vocabulary end in the middle of a character.
    """

    def __init__(
        self,
        transcript: Transcript,
        stops: StopFilter,
        decider: Decider,
        allowance: Callable[[int], int],
        tally: Tally,
        ends_in_character: Callable[[Sequence[int]], bool] = lambda ids: False,
    ) -> None:
        self._transcript, self._stops, self._decider = transcript, stops, decider
        self._allowance, self._tally, self._ends_in_character = allowance, tally, ends_in_character
        self._scanner = CommandScanner()
        #: tokens whose text is held back: (the student's character at which it ends, entry of the transcript, id)
        self._waiting: list[tuple[int, int, int | None]] = []
        self._call: PendingCall | None = None
        #: tokens of the student since the latest call; ``None`` before the first one
        self.since_call: int | None = None
        self._asks_trigger = False  # about the tokens of this turn
        self._must_write = False  # the next token, whatever the trigger says: the latest call brought none
        self._at_end = False

    @property
    def has_call(self) -> bool:
        """Whether a call must be made now. If a call opens in the middle of a character, it waits for its end."""
        return self._call is not None and (self._at_end or not self._ends_in_character(self._transcript.student_ids))

    def begin_turn(self, *, may_call: bool) -> None:
        """Begin the student's next turn.

        Args:
            may_call: whether the budgets allow a call. If not, the trigger is not asked about the turn's tokens.
        """
        self._asks_trigger, self._at_end = may_call and self._decider.reads_tokens, False

    def call_ended(self, received: int) -> None:
        """Note the tokens of the call that has ended. After none, the student writes a token before it can call again,
        so that an answer ends even if every call fails or the teacher has nothing to add."""
        self._must_write = not received

    @property
    def least_before_call(self) -> int:
        """How many tokens the student writes before the next call can open in place of one."""
        return int(self._must_write)

    def pop_call(self) -> PendingCall | None:
        """Remove and return the call to make now; ``None`` if there is none."""
        if not self.has_call:
            return None
        call, self._call, self.since_call = self._call, None, 0
        return call

    def opens_call_at_end(self, end_token: Token | None) -> bool:
        """Whether a call is made although the student has ended: instead of its end token, or because it waited."""
        if end_token is not None and self._may_ask:
            self._try_call_instead_of(end_token)
        self._at_end = self._call is not None
        self._tally.discarded += self._at_end and end_token is not None
        return self._at_end

    @property
    def open_command(self) -> int | None:
        """The student's character at which an unfinished command begins; ``None`` if none is open."""
        if not self._scanner.is_open:
            return None
        return self._transcript.student_offset - len(self._scanner.held)

    def append(self, tokens: Sequence[Token]) -> list[TextDelta]:
        """Append tokens up to the first call; returns the text that the reader may see now."""
        deltas: list[TextDelta] = []
        for i, token in enumerate(tokens):
            if self._may_ask and not token.is_tool_call:
                self._try_call_instead_of(token)
                if self.has_call:
                    self._tally.discarded += sum(map(count_tokens, tokens[i:]))
                    deltas += self._release_held()
                    break
            if token.is_tool_call:
                deltas += self._release_held()
            self._transcript.add_student(token.id, token.text, token.logprob)
            self._must_write = False
            if self.since_call is not None:
                self.since_call += count_tokens(token)
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
            if self.has_call or self._stops.hit is not None:
                if self._asks_trigger and self._stops.hit is None:  # the call has waited for the end of a character
                    self._tally.discarded += sum(map(count_tokens, tokens[i + 1 :]))
                break
        return coalesce(deltas)

    def flush(self, *, cut_off: bool) -> list[TextDelta]:
        """End the answer; returns the text that was held back, unless it is a command that was cut off.

        Args:
            cut_off: whether a budget, not the student, ended the answer. In this case, even the beginning of a tag
                is hidden.
        """
        self._tally.refused += self._call is not None  # the answer ended in the middle of a character
        return self._release_held(cut_off=cut_off) + self._stops.flush()

    # -- deciding ------------------------------------------------------------------------------------------

    @property
    def _may_ask(self) -> bool:
        """Whether the trigger is asked about the next token."""
        return self._asks_trigger and self._call is None and not self._must_write

    def _try_call_instead_of(self, token: Token) -> None:
        """Open a call instead of this token if the trigger proposes one and the budgets allow it."""
        requested = self._decider.before_token(Candidate(token, self._transcript.total, self.since_call))
        if requested > 0 and not self._try_open(requested):
            self._tally.refused += 1

    def _try_open(self, requested: int) -> bool:
        """Open a call if the budgets allow at least one token of it; returns whether it did."""
        tokens = self._allowance(requested)
        if tokens > 0:
            self._call = PendingCall(tokens if requested >= REST else requested, tokens)
        return tokens > 0

    def _scan(self, token: Token) -> list[TextDelta]:
        """Feed one token's text to the scanner, and handle the pieces that are now certain."""
        end = self._transcript.student_offset - len(token.text) - len(self._scanner.held)
        deltas: list[TextDelta] = []
        pieces = self._scanner.feed(token.text)
        for i, piece in enumerate(pieces):
            begin, end = end, end + len(_source(piece))
            deltas += self._pass_on(piece, begin, end)
            if not isinstance(piece, Call):
                continue
            if self._call is not None or not self._try_open(self._decider.on_command(piece)):
                self._tally.refused += 1  # by the trigger or a budget, or because this token has already opened a call
            elif token.id is None:  # a text-only engine may have written past the command; that text is dropped
                dropped = [*pieces[i + 1 :], *self._scanner.flush()]
                self._tally.dropped_chars = sum(len(_source(piece)) for piece in dropped)
                self._transcript.drop_tail(self._tally.dropped_chars)
                self._waiting.clear()
                break
        return deltas + self._release_held() if self._call is not None else deltas

    def _release_held(self, *, cut_off: bool = False) -> list[TextDelta]:
        """Pass on the text that the scanner holds back; it can no longer become a call."""
        end = self._transcript.student_offset - len(self._scanner.held)
        deltas: list[TextDelta] = []
        for piece in self._scanner.flush(cut_off=cut_off):
            begin, end = end, end + len(_source(piece))
            deltas += self._pass_on(piece, begin, end)
        return deltas + self._show("", end)

    def _pass_on(self, piece: Piece, begin: int, end: int) -> list[TextDelta]:
        """Show text, or hide a command; the piece has the student's characters ``begin`` to ``end``."""
        if isinstance(piece, Text):
            return self._show(piece.text, end)
        self._tally.malformed += isinstance(piece, Malformed)
        return self._hide(begin, end)

    def _show(self, text: str, end: int) -> list[TextDelta]:
        """Pass on ordinary text that ends at the student's character ``end``, with the ids of tokens it completes."""
        ids = []
        while self._waiting and self._waiting[0][0] <= end:
            _, index, token_id = self._waiting.pop(0)
            if token_id is not None and not self._transcript.is_command(index):
                ids.append(token_id)
        return self._stops.feed(TextDelta(Author.STUDENT, text, tuple(ids))) if text or ids else []

    def _hide(self, begin: int, end: int) -> list[TextDelta]:
        """Mark the student's characters ``begin`` to ``end`` as a command, after passing on the tokens before it."""
        deltas = self._show("", begin)
        self._transcript.mark_command(begin, end)
        self._waiting = [token for token in self._waiting if token[0] > end]
        return deltas


def _source(piece: Piece) -> str:
    """The text that the student wrote for a piece."""
    return piece.source if isinstance(piece, Call | Malformed) else piece.text
