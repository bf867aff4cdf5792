"""Who may do what, told again from the facts alone: naive, slow, and without a call of the core's own counting.

It reads facts as an auditor with a pencil would: who are the members now, what did each key say, since when is it
enough. ``execution`` names the law that a fact breaks; the machine in test_governance_machine.py holds the core to it.
"""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import permutations

from keyvault.core.approvals import Voice, keyid_of
from keyvault.core.charter import Charter, Duty, Role
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    Event,
    Genesis,
    KeyDestroyed,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.ids import MemberName
from keyvault.core.policy import Policy, Verdict
from keyvault.core.quorum import AnyOf, Of, Quorum, parse_quorum

DUTY_OF = {
    "key.create": Duty.KEY_CREATE,
    "key.enable": Duty.KEY_ENABLE,
    "key.disable": Duty.KEY_DISABLE,
    "charter.change": Duty.CHARTER,
    "break-glass": Duty.BREAK_GLASS,
    "freeze": Duty.FREEZE,
    "thaw": Duty.THAW,
}
ALONE = {Duty.FREEZE, Duty.KEY_DISABLE, Duty.POLICY_TIGHTEN}


@dataclass
class Asked:
    """One proposal as the facts tell it. ``words``: what each key said, in order, unless it became void."""

    action: str
    asker: str
    asker_key: str
    expires: int
    policy_version: int
    duty: Duty | None
    quorums: list[Quorum]
    charter: Charter | None
    policy: Policy | None
    request: tuple[str, str] | None
    words: list[tuple[str, str, Voice]] = field(default_factory=list)
    void_keys: set[str] = field(default_factory=set)
    since: int | None = None
    end: str = ""


class Oracle:
    """The facts so far."""

    def __init__(self) -> None:
        self.charter: Charter | None = None
        self.policy: Policy | None = None
        self.asked: dict[bytes, Asked] = {}
        self.latest = 0

    # Counting ---------------------------------------------------------------------------------------------------------

    def people_for(self, asked: Asked, charter: Charter) -> set[str]:
        """Return the persons of a charter who want this."""
        want, against = set(), set()
        for keyid, name, voice in asked.words:
            if voice is Voice.APPROVE and keyid not in asked.void_keys and _owner(charter, keyid) == name:
                want.add(name)
            if voice in (Voice.REJECT, Voice.REVOKE):
                against.add(name)
        if asked.duty in ALONE:
            if _owner(charter, asked.asker_key) == asked.asker:
                want.add(asked.asker)
        elif asked.request is None:
            want.discard(asked.asker)
        else:
            want -= {member.name for member in charter.members if asked.request[0] in member.principals}
        return want - against

    def is_enough(self, asked: Asked) -> bool:
        """Return whether everybody who must want it does."""
        assert self.charter is not None
        mine = self.people_for(asked, self.charter)
        if asked.duty is None:
            return all(_met(quorum, self.charter, mine) for quorum in asked.quorums)
        quorum = _threshold(self.charter, asked.duty)
        if quorum is None or not _met(quorum, self.charter, mine):
            return False
        if asked.charter is None:
            return True
        theirs = _threshold(asked.charter, Duty.CHARTER)
        return theirs is not None and _met(theirs, asked.charter, self.people_for(asked, asked.charter))

    def execution(self, proposal: bytes, at: int) -> str:
        """Return which invariant carrying this out at that time would break; empty if none."""
        asked = self.asked.get(proposal)
        if asked is None:
            return "nobody asked"
        if asked.end:
            return f"not twice, and not after an end: {asked.end}"
        assert self.policy is not None
        assert self.charter is not None
        if asked.policy_version != self.policy.version:
            return "not under a changed policy"
        if at >= asked.expires:
            return "not after expiry"
        if asked.request is None and at < self.latest:
            return "not in the past"
        if not self.is_enough(asked) or asked.since is None:
            return "not below threshold"
        if asked.duty not in ALONE and self.people_for(asked, self.charter) <= {asked.asker}:
            return "not by the requester alone"
        if at < asked.since + self.delay_ms(asked):
            return "not before its delay"
        return ""

    def delay_ms(self, asked: Asked) -> int:
        """Return how long it waits."""
        assert self.charter is not None
        waits = [each.delay_ms for each in self.charter.thresholds if each.duty is asked.duty]
        if asked.charter is not None:
            for each in self.charter.thresholds:
                later = [new for new in asked.charter.thresholds if new.duty is each.duty]
                if each.duty is not Duty.BREAK_GLASS and (not later or later[0].delay_ms < each.delay_ms):
                    waits.append(each.delay_ms)
        return max(waits, default=0)

    # Reading the facts ------------------------------------------------------------------------------------------------

    def saw(self, event: Event) -> None:  # noqa: C901 (one case for each kind of fact)
        """Take in a fact; assert that it breaks no law."""
        match event:
            case Genesis():
                self.charter, self.policy = event.charter, event.policy
            case ProposalMade():
                self._saw_proposal(event)
            case SignatureEscalated():
                self._saw_escalated(event)
            case BallotCast():
                self._saw_ballot(event)
            case SignatureIssued() if event.proposal:
                self._saw_execution(event.proposal, event.at)
            case SignatureIssued():
                self._saw_plain_signature(event)
            case SignatureRefused():
                for asked in self.asked.values():
                    if asked.request == (event.request.principal, event.request.request_id) and not asked.end:
                        asked.end = "its request was refused"
            case KeyDestroyed():
                pass
            case _ if hasattr(event, "proposal") and hasattr(event, "charter_sha256"):
                self._saw_execution(event.proposal, event.at)
                self._saw_change(event)
            case _:
                pass
        self.latest = max(self.latest, event.at)

    def _saw_proposal(self, event: ProposalMade) -> None:
        words = json.loads(event.statement)
        name = hashlib.sha256(event.statement).digest()
        assert name not in self.asked, "a proposal was made twice"
        assert event.signature is not None
        assert self.policy is not None
        duty = DUTY_OF.get(words["action"]) or (
            Duty.POLICY_TIGHTEN if _takes_away(self.policy, event.policy) else Duty.POLICY_LOOSEN
        )
        self.asked[name] = Asked(
            action=words["action"],
            asker=words["requester"],
            asker_key=event.signature.keyid,
            expires=int(words["expires_at_ms"]),
            policy_version=int(words["policy_version"]),
            duty=duty,
            quorums=[],
            charter=event.charter,
            policy=event.policy,
            request=None,
        )
        self._weigh(event.at)

    def _saw_escalated(self, event: SignatureEscalated) -> None:
        words = json.loads(event.statement)
        assert self.policy is not None
        rules = [rule for rule in self.policy.rules if rule.verdict is Verdict.ESCALATE]
        assert words["parameters"]["quorum"] == "; ".join(dict.fromkeys(rule.quorum for rule in rules))
        self.asked[hashlib.sha256(event.statement).digest()] = Asked(
            action="sign",
            asker=words["requester"],
            asker_key="",
            expires=int(words["expires_at_ms"]),
            policy_version=int(words["policy_version"]),
            duty=None,
            quorums=[parse_quorum(rule.quorum) for rule in rules],
            charter=None,
            policy=None,
            request=(event.request.principal, event.request.request_id),
        )

    def _saw_ballot(self, event: BallotCast) -> None:
        asked = self.asked[event.proposal]
        assert not asked.end, f"a ballot after the end: {asked.end}"
        assert event.at < asked.expires, "a ballot after expiry"
        assert event.at >= self.latest, "a ballot in the past"
        assert self.charter is not None
        assert (event.signature.keyid, event.member, event.voice) not in asked.words, "a replayed ballot"
        known = {_owner(self.charter, event.signature.keyid)}
        if asked.charter is not None:
            known.add(_owner(asked.charter, event.signature.keyid))
        assert event.member in known, "a ballot of a stranger"
        asked.words.append((event.signature.keyid, event.member, event.voice))
        if event.voice is Voice.VETO:
            asked.end = "vetoed"
        self._weigh(event.at)

    def _saw_execution(self, proposal: bytes, at: int) -> None:
        broken = self.execution(proposal, at)
        assert not broken, f"INVARIANT BROKEN: {broken}"
        self.asked[proposal].end = "carried out"

    def _saw_plain_signature(self, event: SignatureIssued) -> None:
        assert self.policy is not None
        assert not any(rule.verdict is Verdict.ESCALATE for rule in self.policy.rules), "signed without asking"
        assert event.policy_version == self.policy.version

    def _saw_change(self, event: Event) -> None:
        match event:
            case PolicyPublished():
                self.policy = self.asked[event.proposal].policy
                assert self.policy is not None
                for asked in self.asked.values():
                    if asked.policy_version != self.policy.version and not asked.end:
                        asked.end = "void: policy changed"
            case CharterChanged():
                self.charter = self.asked[event.proposal].charter
                assert self.charter is not None
                for asked in self.asked.values():
                    if asked.charter is not None and not asked.end:
                        asked.end = "void: charter changed"
                    for keyid, name, voice in asked.words:
                        if voice is Voice.APPROVE and _owner(self.charter, keyid) != name:
                            asked.void_keys.add(keyid)
                self._weigh(event.at)
            case _:
                pass

    def _weigh(self, at: int) -> None:
        for asked in self.asked.values():
            if asked.end:
                continue
            if not self.is_enough(asked):
                asked.since = None
            elif asked.since is None:
                asked.since = at


def _owner(charter: Charter, keyid: str) -> str | None:
    """Return whose key this is, if they have a voice."""
    for member in charter.members:
        if keyid in [keyid_of(key) for key in member.public_keys]:
            return member.name if {Role.ADMIN, Role.APPROVER} & member.roles else None
    return None


def _threshold(charter: Charter, duty: Duty) -> Quorum | None:
    return next((each.quorum for each in charter.thresholds if each.duty is duty), None)


def _met(quorum: Quorum, charter: Charter, people: set[str]) -> bool:
    """Return whether some way to seat the people, one seat each, fills every seat that the quorum asks for."""
    groups: dict[str, frozenset[MemberName]] = {group.name: group.members for group in charter.groups}
    for seats in _seatings(quorum):
        if len(seats) <= len(people) and any(
            all(person in groups[seat] for person, seat in zip(row, seats, strict=True))
            for row in permutations(sorted(people), len(seats))
        ):
            return True
    return False


def _seatings(quorum: Quorum) -> list[list[str]]:
    """Return each list of seats, by group, that would do."""
    if isinstance(quorum, Of):
        return [[quorum.group] * quorum.threshold]
    if isinstance(quorum, AnyOf):
        return [seats for part in quorum.parts for seats in _seatings(part)]
    lists: list[list[str]] = [[]]
    for part in quorum.parts:
        lists = [seats + more for seats in lists for more in _seatings(part)]
    return lists


def _takes_away(old: Policy, new: Policy | None) -> bool:
    """Return whether one of the machine's policies, whose rules are all about the same key and caller, gives less."""
    assert new is not None
    if not new.rules:
        return True
    verdicts = [{rule.verdict for rule in each.rules} for each in (old, new)]
    quorums = [{rule.quorum for rule in each.rules if rule.quorum} for each in (old, new)]
    gives = Verdict.ALLOW in verdicts[1] and Verdict.ALLOW not in verdicts[0]
    return bool(old.rules) and not gives and quorums[0] <= quorums[1]
