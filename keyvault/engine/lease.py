"""Who leads one enclave, as one node sees it: when to look, to take over, to beat, to give up. Sans I/O.

Safety is not here. The epoch in every append is the fence, and the store checks it in the statement that writes; two
nodes that both believe they lead can never both append. This machine is about availability: that somebody leads soon,
that nobody disturbs a leader that is well, and that a leader who lost touch stops saying that it leads.

Laws:

1. Time is the node's own monotonic clock, in seconds, and comes in with every event. Nothing of the store's clock or of
   another node's is ever compared with it. The clock must count while the machine is suspended (CLOCK_BOOTTIME).
2. A lease has moved when its epoch, beat or holder differ from what was seen last, or when it was seen through another
   store: two servers that both say they are the primary may count to the same numbers. It is silent when it was seen
   not to move for LEASE_SILENCE. It is free when it is silent, when nobody holds it, or when the store says that the
   holder's session is gone. That last is a hint: it may be wrong, and then costs a leader its term, and no more.
3. An eligible node that does not abstain takes over a free lease, and says what it saw: the store refuses if anything
   moved since. A node is not eligible until it says so, and not any more once its term ended.
4. A leader beats when LEASE_BEAT passed without an acknowledged write or a beat; every acknowledged write is one.
5. A term ends when LEASE_TERM passed since the sending of the last acknowledged write. The sending, not the answer:
   what others see is the write, and that may be as old as its sending. LEASE_TERM is to LEASE_SILENCE as 2 to 3, so
   when a silent lease is taken its leader has ended its term, though one clock run 20 % slow and the other 20 % fast.
6. A term ends when a write was refused, or when it is not known whether it happened (I7). Nothing is tried again.
7. A term ends when an event comes LEASE_STALL after ``wake_at``: the event loop stood still, or the machine did.
8. A leader that is asked to step down, or that is not eligible any more, hands over: it finishes what is under way and
   gives the lease back, within LEASE_HAND_OVER. Who was asked to then abstains for LEASE_ABSTENTION, or until another
   leads. A node that drains says that it is not eligible, and stays away until it says otherwise.
9. A take-over that was not acknowledged within LEASE_TERM is let go: its term would be over (5), and its server may be
   one that waits for its standbys for ever. The next one is tried through another store.
10. A node that yields takes over a free lease only when LEASE_PREFERENCE passed since it first saw it free, so that a
   place that should lead is faster. It never leaves it for longer: a free lease is taken by whoever could lead. After a
   hand-over that only evens out (``StepDown.briefly``) it abstains for LEASE_BRIEF_ABSTENTION.
11. Every Lead is followed by exactly one EndTerm of its epoch. Nothing that is said of an earlier epoch touches a later
    one; an answer that comes twice, or too late, begins nothing.

What the shell does for each effect, in the order given:

- ``Look``: read ``store.lease()`` beside everything else; answer with exactly one of Saw and LookFailed. A store that
  is in doubt, or lost its connection, is closed and opened anew first, with a new number, and not always on the server
  that answers first: it may be one that was replaced. That none can be opened is LookFailed.
- ``TakeOver``: call ``store.take_over(..., seen)`` on that very store; if it is gone, nothing was tried
  (``unknown=False``). Answer with exactly one of TookOver and TakeOverFailed. Nothing cancels it.
- ``LetGo``: close the store on which a take-over waits, without waiting for it. It needs no answer.
- ``Lead``: read the ledger's rest from that store and append TermStarted upon it. Only when that was acknowledged is
  anything decided, or answered from what was read: a later leader's entries, not durable yet, may be among it. The
  reading may take its time; beats go on beside it.
- ``Beat``: call ``store.beat(epoch)`` in the appender's writing thread, after what waits there. May be left out if a
  write is under way or waits.
- ``StepDownNow``: take no new request, let those under way end, sign a last checkpoint, call ``store.step_down``, and
  answer with SteppedDown. Without a Lead before it there is only the call. What fails is WriteFailed.
- ``EndTerm``: at once, before anything else is awaited: end the sequencer's term (its callers get Unavailable), release
  nothing more, write nothing more. Then close the store, which is how the others learn of it at once. When the state
  is the ledger's again, from a store that was opened anew: Eligible.

And besides: call ``step(Woke)`` when the clock shows ``wake_at``, which may change with every event; earlier does no
harm. Report every acknowledgement of an append, a checkpoint or a beat, with a moment not later than its sending, and
every write that failed. Before a request is decided, or a read is answered as the leader's, ask ``leads(now)``.

Not here: how nodes share several enclaves among them (``engine.spread`` advises when to step down, and to whom to
yield); what makes a node eligible.
"""

import math
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.engine.lease_events import (
    Acknowledged,
    Beat,
    Effect,
    Eligible,
    Ending,
    EndTerm,
    Event,
    Lead,
    LetGo,
    Look,
    LookFailed,
    Saw,
    StepDown,
    StepDownNow,
    SteppedDown,
    TakeOver,
    TakeOverFailed,
    TookOver,
    Woke,
    WriteFailed,
    Yields,
)
from keyvault.store.base import Lease

_BEAT_S = limits.LEASE_BEAT_MS / 1000
_TERM_S = limits.LEASE_TERM_MS / 1000
_SILENCE_S = limits.LEASE_SILENCE_MS / 1000
_POLL_S = limits.LEASE_POLL_MS / 1000
_POLL_SPREAD_S = limits.LEASE_POLL_SPREAD_MS / 1000
_STALL_S = limits.LEASE_STALL_MS / 1000
_ABSTENTION_S = limits.LEASE_ABSTENTION_MS / 1000
_ABSTENTION_SPREAD_S = limits.LEASE_ABSTENTION_SPREAD_MS / 1000
_PREFERENCE_S = limits.LEASE_PREFERENCE_MS / 1000
_BRIEF_ABSTENTION_S = limits.LEASE_BRIEF_ABSTENTION_MS / 1000
_HAND_OVER_S = limits.LEASE_HAND_OVER_MS / 1000


@dataclass(slots=True, kw_only=True)
class _Term:
    """A term of this node. Moments are by its clock."""

    epoch: int
    written_at: float
    beat_at: float
    cut_at: float = math.inf


class Leadership:
    """One node's part in one enclave's lease.

    ``jitter``, from 0 to 1, is drawn once for each node, so that nodes do not do everything at the same moments.
    """

    def __init__(self, *, now: float, jitter: float) -> None:
        self._poll_s = _POLL_S + _POLL_SPREAD_S * (jitter - 0.5)
        self._abstention_s = _ABSTENTION_S + _ABSTENTION_SPREAD_S * jitter
        self._eligible = False
        self._yields = False
        self._free_at = math.inf
        self._abstains_until = -math.inf
        self._abstains_for_s = self._abstention_s
        self._abstains_after = 0
        self._seen: tuple[int, int, int, str] | None = None
        self._moved_at = now
        self._look_at = now
        self._taking: Lease | None = None
        self._let_go_at = math.inf
        self._term: _Term | None = None

    @property
    def wake_at(self) -> float:
        """When the next Woke is due; infinity if only an answer can change anything."""
        if self._term is not None:
            return min(self._term.beat_at, self._ends_at(self._term))
        return self._look_at if self._taking is None else self._let_go_at

    def leads(self, now: float) -> int | None:
        """Return the epoch that this node leads in; None if it does not, or its term is over and not ended yet."""
        return None if self._term is None or self._is_over(self._term, now) else self._term.epoch

    def step(self, event: Event) -> tuple[Effect, ...]:
        """Take the event in; return what the shell must do."""
        if self._taking is not None and event.now >= self._let_go_at:
            return (*self._let_go(event.now), *self._take(event))
        term = self._term
        ending = None if term is None else self._is_over(term, event.now)
        if term is None or ending is None:
            return self._take(event)
        ended = self._end(term, ending, event.now)
        if isinstance(event, Eligible):  # said of the state that the term leaves in doubt
            return ended
        return (*ended, *self._take(event))

    def _take(self, event: Event) -> tuple[Effect, ...]:
        match event:
            case Woke():
                return self._woke(event.now)
            case Saw():
                return self._saw(event)
            case LookFailed():
                self._look_at = event.now + self._poll_s
            case TookOver():
                return self._took_over(event)
            case TakeOverFailed():
                self._take_over_failed(event.now)
            case _:
                return self._take_of_a_term(event)
        return ()

    def _take_of_a_term(
        self, event: Acknowledged | WriteFailed | Eligible | StepDown | SteppedDown | Yields
    ) -> tuple[Effect, ...]:
        match event:
            case Acknowledged():
                self._acknowledged(event)
            case WriteFailed():
                return self._ended(event.epoch, Ending.IN_DOUBT if event.unknown else Ending.FENCED, event.now)
            case Eligible():
                self._eligible = event.is_eligible
                return () if event.is_eligible else self._leave(event.now)
            case StepDown():
                return self._asked_to_step_down(event)
            case SteppedDown():
                return self._ended(event.epoch, Ending.STEPPED_DOWN, event.now)
            case Yields():
                self._yields = event.yields
        return ()

    # Without a term ---------------------------------------------------------------------------------------------

    def _woke(self, now: float) -> tuple[Effect, ...]:
        if self._term is not None:
            return self._beat(self._term, now)
        if self._taking is not None or now < self._look_at:
            return ()
        self._look_at = math.inf  # until it returned
        return (Look(),)

    def _saw(self, event: Saw) -> tuple[Effect, ...]:
        if self._term is not None or self._taking is not None:
            return ()
        lease, now = event.lease, event.now
        mark = (event.through, lease.epoch, lease.beat, lease.holder)
        if self._seen != mark:
            self._seen, self._moved_at = mark, now
        if lease.holder and lease.epoch > self._abstains_after:
            self._abstains_until = -math.inf
        silent_at = self._moved_at + _SILENCE_S
        is_free = not lease.holder or lease.session_gone or now >= silent_at
        self._free_at = min(self._free_at, now) if is_free else math.inf
        takes_at = self._free_at + (_PREFERENCE_S if self._yields else 0)
        if self._may_lead(now) and now >= takes_at:
            self._taking, self._let_go_at = lease, now + _TERM_S
            return (TakeOver(seen=lease, through=event.through),)
        due = [at for at in (silent_at, takes_at) if at > now]
        self._look_at = min([now + self._poll_s, *due])
        return ()

    def _may_lead(self, now: float) -> bool:
        return self._eligible and now >= self._abstains_until

    def _take_over_failed(self, now: float) -> None:
        if self._taking is not None:
            self._taking, self._look_at = None, now + self._poll_s

    def _let_go(self, now: float) -> tuple[Effect, ...]:
        self._take_over_failed(now)
        return (LetGo(),)

    def _took_over(self, event: TookOver) -> tuple[Effect, ...]:
        if self._taking is None or event.epoch <= self._taking.epoch:  # it comes again
            return ()
        sent_at = min(event.sent_at, event.now)
        # Not before now: a beat that was due while nobody led is not a stall (7).
        term = _Term(epoch=event.epoch, written_at=sent_at, beat_at=max(sent_at + _BEAT_S, event.now))
        self._taking, self._term = None, term
        if not self._may_lead(event.now):
            return self._leave(event.now)
        return (Lead(epoch=event.epoch),)

    # In a term --------------------------------------------------------------------------------------------------

    def _ends_at(self, term: _Term) -> float:
        return min(term.written_at + _TERM_S, term.cut_at)

    def _is_over(self, term: _Term, now: float) -> Ending | None:
        """Return why the term is over by the clock."""
        if now - self.wake_at >= _STALL_S:
            return Ending.STALLED
        if now < self._ends_at(term):
            return None
        return Ending.TOO_LONG if now >= term.cut_at else Ending.SILENT

    def _beat(self, term: _Term, now: float) -> tuple[Effect, ...]:
        if now < term.beat_at:
            return ()
        term.beat_at = now + _BEAT_S
        return (Beat(epoch=term.epoch),)

    def _acknowledged(self, event: Acknowledged) -> None:
        term = self._term
        if term is None or term.epoch != event.epoch:
            return
        term.written_at = max(term.written_at, min(event.sent_at, event.now))
        term.beat_at = max(term.beat_at, term.written_at + _BEAT_S)

    def _asked_to_step_down(self, event: StepDown) -> tuple[Effect, ...]:
        if self._term is None and self._taking is None:
            return ()
        epoch = self._term.epoch if self._term is not None else 0
        if self._taking is not None:
            epoch = self._taking.epoch + 1
        self._abstains_for_s = _BRIEF_ABSTENTION_S if event.briefly else self._abstention_s
        self._abstains_after, self._abstains_until = epoch, event.now + self._abstention_s  # longer than a hand-over
        return self._leave(event.now)

    def _leave(self, now: float) -> tuple[Effect, ...]:
        term = self._term
        if term is None or term.cut_at < math.inf:
            return ()
        term.cut_at = now + _HAND_OVER_S
        return (StepDownNow(epoch=term.epoch),)

    def _ended(self, epoch: int, ending: Ending, now: float) -> tuple[Effect, ...]:
        term = self._term
        return () if term is None or term.epoch != epoch else self._end(term, ending, now)

    def _end(self, term: _Term, ending: Ending, now: float) -> tuple[Effect, ...]:
        """End the term. Others, which need no recovery, look first."""
        if term.epoch == self._abstains_after and self._abstains_until > now:
            self._abstains_until = now + self._abstains_for_s
        self._term, self._eligible, self._free_at = None, False, math.inf
        self._look_at = now + self._poll_s
        return (EndTerm(epoch=term.epoch, ending=ending),)
