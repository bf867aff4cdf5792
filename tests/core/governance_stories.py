"""The language of the stories in tests/scenarios/governance; what it can say stands in test_governance_scenarios.py.

A story runs in a real enclave: engine, ledger in memory, keys in a token of this process, and a clock that stands still
until the story moves it.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from keyvault.core import limits
from keyvault.core.apply import apply
from keyvault.core.approvals import Voice, keyid_of
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.errors import ApprovalNeeded, Corrupt, KeyvaultError, Refused, RequestIdReused
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    Genesis,
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
)
from keyvault.core.ids import GroupName, MemberName, Principal, UnixMillis
from keyvault.core.keys import KeyState
from keyvault.core.policy import Policy, Rule
from keyvault.core.proposals import Outcome, Proposal, short
from keyvault.core.quorum import parse_quorum
from keyvault.core.state import State
from keyvault.core.statements import Action, proposal_id_of
from keyvault.engine.enclave import Enclave
from keyvault.engine.genesis import write_genesis
from keyvault.ledger import codec
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy
from keyvault.store.memory import MemoryMedium, MemoryStore
from tests.engine.world import SOON, FixedClock, open_enclave
from tests.software_token import SoftwareToken
from tests.worlds import (
    NOW,
    Person,
    allow_digest,
    ballot,
    digest_request,
    escalate_digest,
    genesis,
    policy,
    propose,
    spki,
    statement,
)

VOICES = {"approves": Voice.APPROVE, "rejects": Voice.REJECT, "vetoes": Voice.VETO, "revokes": Voice.REVOKE}
BOTS = {name: Principal(f"spiffe://test.local/bot/{name}") for name in ("maker", "taker")}
UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DEFAULTS: dict[Action, dict[str, str]] = {
    Action.KEY_CREATE: {
        "algorithm": "SECP256K1",
        "initial": "ACTIVE",
        "cryptoperiod_days": "0",
        "rotation": "warn",
    },
    Action.KEY_ROTATE: {"initial": "ACTIVE", "version": "2", "wrapped_sha256": ""},
    Action.KEY_ENABLE: {"version": "1"},
    Action.KEY_DISABLE: {"version": "1"},
    Action.KEY_DESTROY: {"version": "1", "after_days": str(limits.DESTRUCTION_DAYS)},
    Action.KEY_KEEP: {"version": "1"},
    Action.FREEZE: {"name": ""},
    Action.THAW: {"name": ""},
    Action.CEREMONY_STEP: {"record_sha256": "00" * 32},
}


def milliseconds(text: str) -> int:
    """Return the length of ``90s``, ``10m``, ``24h`` or ``7d``."""
    return int(text[:-1]) * UNITS[text[-1]]


def length_text(length_ms: int) -> str:
    """Return the length in the largest unit that fits, with milliseconds as the rest."""
    for unit, size in reversed(UNITS.items()):
        if length_ms and length_ms % size == 0:
            return f"{length_ms // size}{unit}"
    return f"{length_ms}ms"


@dataclass
class Story:
    """One enclave, and the names that the story gives to people and proposals."""

    keys: dict[tuple[str, str], Person] = field(default_factory=dict)
    names: dict[str, bytes] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    medium: MemoryMedium = field(default_factory=MemoryMedium)
    token: SoftwareToken = field(default_factory=SoftwareToken)
    clock: FixedClock = field(default_factory=FixedClock)
    enclave: Enclave | None = None

    @property
    def led(self) -> Enclave:
        assert self.enclave is not None, "the story has no enclave yet"
        return self.enclave

    @property
    def state(self) -> State:
        return self.led.state

    async def run(self, command: list[str]) -> str:
        """Return the outcome of one command: what it was answered, and what else came into the ledger."""
        before = len(self.medium.bodies)
        first, *more = command
        for form, act in self._commands():
            found = re.fullmatch(form, first)
            if found:
                return await self._told(act, found, more, before)
        msg = f"a story cannot say {first!r}"
        raise AssertionError(msg)

    def _commands(self) -> list[tuple[str, Callable[..., Awaitable[str]]]]:
        return [
            (r"enclave", self._found),
            (r"(\w+) proposes ([\w.-]+)((?: \w+=\S*)*?)(?: for (\w+))?(?: in enclave (\w+))? as (\w+)", self._propose),
            (r"(\w+) (approves|rejects|vetoes|revokes) (\w+)(?: with (\w+))?", self._cast),
            (r"(\w+) asks (\w+) with (\S+)(?: for (\w\w))?", self._ask),
            (r"wait (\w+)", self._wait),
            (r"clock back (\w+)", self._back),
            (r"restart", self._restart),
            (r"show (\w+)", self._show),
            (r"keys", self._keys),
            (r"the enclave's own proposal is (\w+)", self._own),
        ]

    async def _told(
        self, act: Callable[..., Awaitable[str]], found: re.Match[str], more: list[str], before: int
    ) -> str:
        try:
            answer = await act(*found.groups(), more)
        except ApprovalNeeded as needed:
            answer = f"waits {needed.reason}: {needed}"
        except Refused as refused:
            answer = f"refused {refused.reason}: {refused}"
        except Corrupt as corrupt:
            answer = f"refused: {corrupt.__cause__}"
        except RequestIdReused as reused:
            answer = f"error REQUEST_ID_REUSED: {reused}"
        except KeyvaultError as error:
            answer = f"error {type(error).__name__}: {error}"
        facts = [self._fact(codec.decode(body)) for body in self.medium.bodies[before:]]
        return self._named("\n".join([answer, *(f"ledger: {fact}" for fact in facts if fact)]))

    # What a story says --------------------------------------------------------------------------------------------

    async def _found(self, lines: list[str]) -> str:
        rulers, rules = self._charter(lines, 1), self._policy(lines, 1)
        first = genesis(rules=rules, rulers=rulers, log_public_key=self.token.log_public_key)
        write_genesis(MemoryStore(self.medium), first)
        self.enclave = await open_enclave(self.medium, self.token, self.clock)
        return "serves"

    async def _propose(  # the parts of one sentence
        self, who: str, what: str, pairs: str, life: str | None, where: str | None, name: str, lines: list[str]
    ) -> str:
        action = Action(what)
        given = dict(pair.split("=", 1) for pair in pairs.split())
        parameters = DEFAULTS.get(action, {}) | given
        if "reason" in given:
            parameters["reason"] = given["reason"].replace("_", " ")
        attached: dict[str, object] = {}
        if action in (Action.CHARTER_CHANGE, Action.BREAK_GLASS):
            version = int(parameters.setdefault("version", str(self.state.rulers.charter.version + 1)))
            charter = self._charter(lines, version)
            attached = {"charter": charter, "document": encode_charter(charter)}
            parameters["charter_sha256"] = hashlib.sha256(encode_charter(charter)).hexdigest()
        if action is Action.POLICY_PUBLISH:
            rules = self._policy(lines, int(parameters.setdefault("version", str(self.state.policy.version + 1))))
            attached = {"policy": rules, "document": encode_policy(rules)}
            parameters.setdefault("replay_sha256", "none")
            parameters["policy_sha256"] = hashlib.sha256(encode_policy(rules)).hexdigest()
        said = statement(
            self.state,
            action,
            parameters,
            requester=who,
            nonce=f"{len(self.names):02x}",
            expires_at=self.clock.at + milliseconds(life or "24h"),
            enclave_id=None if where is None else hashlib.sha256(where.encode()).hexdigest(),
        )
        self.names[name] = proposal_id_of(said.encode())
        return await self._answer(name, self.led.propose(propose(said, self._person(who, "first"), **attached)))

    async def _cast(self, who: str, word: str, name: str, key: str | None, _: list[str]) -> str:
        said = self._find(name).statement_bytes
        command = ballot(said, self._person(who, key or "first"), VOICES[word])
        return await self._answer(name, self.led.cast(command))

    def _person(self, name: str, key: str) -> Person:
        """Return somebody with a key; who is in no charter has one, too."""
        return self.keys.setdefault((name, key), Person(name))

    async def _answer(self, name: str, work: Awaitable[Proposal]) -> str:
        self.proposals[name] = await work
        return self._standing(self.proposals[name])

    async def _ask(self, who: str, request_id: str, key: str, byte: str | None, _: list[str]) -> str:
        command = digest_request(request_id, key=key, digest=bytes.fromhex(byte or "aa") * 32, principal=BOTS[who])
        await self.led.opened()
        fact = (await self.led.request(command, SOON)).event
        if isinstance(fact, SignatureEscalated):
            asked = self.state.proposals.of_request(BOTS[who], command.request.request_id)
            assert asked is not None
            self.names[request_id], self.proposals[request_id] = asked.id, asked
            return f"asks members: needs {asked.quorum_text(self.state.rulers)}"
        if isinstance(fact, SignatureRefused):
            return f"refused {fact.reason}: {fact.explanation}"
        assert isinstance(fact, SignatureIssued)
        return f"signed by version {fact.key_version}"

    async def _wait(self, length: str, _: list[str]) -> str:
        self.clock.at += milliseconds(length)
        await self.led.govern()
        return self._time()

    async def _back(self, length: str, _: list[str]) -> str:
        self.clock.at -= milliseconds(length)
        await self.led.govern()
        return self._time()

    async def _restart(self, _: list[str]) -> str:
        before = self.state
        await self.led.close()
        self.enclave = await open_enclave(self.medium, self.token, self.clock)
        assert self.state == replayed(self.medium)
        assert self.state.proposals == before.proposals
        return "serves"

    async def _show(self, name: str, _: list[str]) -> str:
        proposal = self._find(name)
        words = [self._standing(proposal), f"says: {proposal.statement.summary()}"]
        if proposal.vetoed_before:
            words.append(f"previously vetoed: {short(proposal.vetoed_before)}")
        return "\n".join(words)

    async def _keys(self, _: list[str]) -> str:
        lines = []
        for line in self.state.keys.values():
            for key in line.versions.values():
                words = [f"{key.key} version {key.version}: {_words(key.state)}"]
                words += ["primary"] if key.version == line.primary else []
                words += [] if key.rotate_by is None else [f"to be rotated by {key.rotate_by} ms"]
                words += [] if key.destroy_at is None else [f"to be destroyed at {key.destroy_at} ms"]
                held = await self._is_in_token(key.token_object_id)
                lines.append(", ".join([*words, "in the token" if held else "not in the token"]))
        return "\n".join(lines) or "none"

    async def _own(self, name: str, _: list[str]) -> str:
        (proposal,) = (each for each in self.state.proposals.open.values() if each.signature is None and each.duty)
        self.names[name], self.proposals[name] = proposal.id, proposal
        return self._standing(proposal)

    async def _is_in_token(self, object_id: bytes) -> bool:
        await asyncio.sleep(0)
        return object_id in self.token._keys

    # Documents ----------------------------------------------------------------------------------------------------

    def _charter(self, lines: list[str], version: int) -> Charter:
        members, groups, thresholds = [], [], []
        for line in lines:
            subject, _, rest = line.partition(": ")
            if subject.startswith("sign "):
                continue
            if subject.startswith("group "):
                name, *others = subject.split()[1:]
                assert not others
                groups.append(Group(name=GroupName(name), members=frozenset(map(MemberName, rest.split()))))
            elif subject in {duty.value for duty in Duty}:
                quorum, _, delay = rest.partition(" after ")
                thresholds.append(
                    Threshold(
                        duty=Duty(subject),
                        quorum=parse_quorum(quorum),
                        delay_ms=milliseconds(delay) if delay else 0,
                    )
                )
            else:
                members.append(self._member(subject, rest.split()))
        return Charter(version=version, members=tuple(members), groups=tuple(groups), thresholds=tuple(thresholds))

    def _member(self, name: str, words: list[str]) -> Member:
        facts = dict(word.split("=", 1) for word in words if "=" in word)
        labels = facts.get("keys", "first").split(",")
        holder = facts.get("of", name)
        people = [self.keys.setdefault((holder, label), Person(holder)) for label in labels]
        for label, person in zip(labels, people, strict=True):
            self.keys[name, label] = replace(person, name=name)
        if "first" not in labels:
            self.keys[name, "first"] = self.keys[name, labels[0]]
        return Member(
            name=MemberName(name),
            roles=frozenset(Role(word) for word in words if "=" not in word),
            public_keys=tuple(spki(person.key) for person in people),
            principals=frozenset({BOTS[facts["asks-as"]]} if "asks-as" in facts else ()),
        )

    @staticmethod
    def _policy(lines: list[str], version: int) -> Policy:
        rules: list[Rule] = []
        for line in lines:
            if line.startswith("sign "):
                key, _, verdict = line.removeprefix("sign ").partition(": ")
                name = f"rule-{len(rules) + 1}"
                word, _, quorum = verdict.partition(" ")
                assert word in ("allow", "escalate")
                rules.append(
                    allow_digest(key, name) if word == "allow" else escalate_digest(quorum, key=key, rule_id=name)
                )
        return policy(*rules, version=version)

    # Telling ------------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Proposal:
        """Return the proposal as it is now, or as it was last seen."""
        known = self.state.proposals
        return known.open.get(self.names[name]) or known.closed.get(self.names[name]) or self.proposals[name]

    def _standing(self, proposal: Proposal) -> str:
        if proposal.outcome is not Outcome.OPEN:
            return _words(proposal.outcome)
        rulers = self.state.rulers
        if proposal.statement.expires_at <= self.clock.at:
            return "open, but past its time"
        voices = ", ".join(sorted(proposal.approvers(rulers))) or "nobody"
        if proposal.approved_at is None:
            return f"open, approved by {voices}; needs {proposal.quorum_text(rulers)}"
        due = proposal.approved_at + proposal.delay_ms(rulers)
        return f"open, approved by {voices}; due {'now' if due <= self.clock.at else f'at {due} ms'}"

    def _fact(self, event: Event) -> str:  # noqa: C901 (one line for each fact)
        match event:
            case ProposalMade() if event.signature is None:
                return "ProposalMade by the enclave itself"
            case Genesis() | TermStarted() | BallotCast() | ProposalMade() | SignatureRefused():
                return ""
            case SignatureIssued() | SignatureEscalated():
                return f"{type(event).__name__} {event.request.request_id}"
            case ChangeRefused():
                return f"ChangeRefused {event.subject} {event.reason}"
            case KeyCreated():
                return f"KeyCreated {event.key} version {event.version} {event.state}"
            case KeyStateChanged():
                return f"KeyStateChanged {event.key} version {event.version} {event.state}"
            case KeyDestroyed():
                return f"KeyDestroyed {event.key} version {event.version}"
            case PolicyPublished():
                return f"PolicyPublished version {event.version}"
            case CharterChanged():
                return f"CharterChanged version {event.version}{', BREAK GLASS' if event.break_glass else ''}"
            case FreezeChanged():
                return " ".join(
                    filter(None, ("FreezeChanged", event.scope, event.name, "frozen" if event.frozen else "thawed"))
                )
            case _:
                return type(event).__name__

    def _time(self) -> str:
        return f"the clock says {UnixMillis(self.clock.at)} ms"

    def _named(self, text: str) -> str:
        """Put the story's own words where a run has hashes and times."""
        for name, proposal in self.names.items():
            text = text.replace(proposal.hex(), name).replace(short(proposal), name)
        for (name, label), person in self.keys.items():
            text = text.replace(keyid_of(spki(person.key))[:16], name if label == "first" else f"{name}/{label}")
        text = re.sub(r"\b(1[78]\d{11}) ms", lambda found: f"T+{length_text(int(found[1]) - NOW)}", text)
        return re.sub(r"\b04[0-9a-f]{128}\b", "(key)", re.sub(r"\b[0-9a-f]{64}\b", "(hash)", text))


def _words(word: Outcome | KeyState) -> str:
    return word.value.lower().replace("_", " ")


def replayed(medium: MemoryMedium) -> State:
    """Return the fold of what is on the medium."""
    state = State.empty()
    for index, body in enumerate(medium.bodies):
        apply(state, index, codec.decode(body))
    return state
