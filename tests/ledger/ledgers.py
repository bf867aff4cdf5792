"""A genuine ledger for auditors to look at, and for tests to tamper with."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keyvault import intents
from keyvault.core import limits
from keyvault.core.apply import apply
from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter, Duty, Threshold
from keyvault.core.commands import RequestSignature
from keyvault.core.decide import Authorised, decide_ballot, decide_proposal, decide_signature
from keyvault.core.due import destroyed
from keyvault.core.errors import Reason
from keyvault.core.events import (
    Event,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
)
from keyvault.core.execution import KeyToMake, carry_out
from keyvault.core.ids import Epoch, KeyId, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyState
from keyvault.core.policy import ANY, Rule, Verdict
from keyvault.core.quorum import parse_quorum
from keyvault.core.state import State
from keyvault.core.statements import Action, proposal_id_of
from keyvault.core.token_changes import TokenToJoin
from keyvault.core.windows import Reservations
from keyvault.ledger import checkpoint
from keyvault.ledger.codec import encode, encode_charter, encode_policy, key_of, policy_sha256
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import Verifier, verifier
from keyvault.ledger.verify import Row
from keyvault.store.base import EMPTY_HEAD, Entry, Head, Store
from tests.ledger.token_keys import TokenKey
from tests.ledger.token_keys import ed25519_key as ed25519_key
from tests.ledger.token_keys import hmac_key as hmac_key
from tests.ledger.token_keys import p256_key as p256_key
from tests.ledger.token_keys import secp256k1_key as secp256k1_key
from tests.worlds import (
    BOT,
    NOW,
    Person,
    ballot,
    charter,
    digest_request,
    escalate_digest,
    genesis,
    key_parameters,
    policy,
    propose,
    statement,
)

DAY_MS = 86_400_000
WRAPPED = b"w" * limits.WRAPPED_SECRET_BYTES_MIN
RULE = Rule(
    id="digests",
    verdict=Verdict.ALLOW,
    keys=frozenset({"k1", "p1", "e1", "h1"}),
    principals=frozenset({BOT}),
    kinds=frozenset({PayloadKind.RAW_DIGEST, PayloadKind.BINANCE_REST}),
    operations=frozenset({Operation.OPAQUE}),
    venues=ANY,
)
"""What lets every key of these ledgers but vault sign: digests, or requests that nobody could read."""
ASK = escalate_digest("2 of admins", key="vault")  # what lets vault sign digests after two members approved


def rulers(*persons: Person, version: int = 1, change: str = "1 of admins", glass: str = "2 of admins") -> Charter:
    """Return the charter of these ledgers: one other admin approves anything, two break the glass, after a day.

    ``change`` is the quorum of the next charter; without ``glass`` nobody can break it.
    """
    thresholds: dict[Duty, str | Threshold] = {Duty.CHARTER: change}
    if glass:
        thresholds[Duty.BREAK_GLASS] = Threshold(duty=Duty.BREAK_GLASS, quorum=parse_quorum(glass), delay_ms=DAY_MS)
    return charter(*persons, version=version, thresholds=thresholds)


@dataclass
class Ledger:
    """A ledger under way: events go in, entries and checkpoints come out."""

    log_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    alice: Person = field(default_factory=lambda: Person("alice"))
    bob: Person = field(default_factory=lambda: Person("bob"))
    carol: Person = field(default_factory=lambda: Person("carol", key=ec.generate_private_key(ec.SECP256R1())))
    state: State = field(default_factory=State.empty)
    tree: Tree = field(default_factory=Tree)
    events: list[Event] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    checkpoints: list[tuple[int, bytes]] = field(default_factory=list)
    token: dict[str, TokenKey] = field(default_factory=dict)
    head: Head = EMPTY_HEAD
    waited_ms: int = 0
    rules: tuple[Rule, ...] = (RULE, ASK)

    @property
    def at(self) -> UnixMillis:  # of the next event
        return UnixMillis(NOW + len(self.entries) + self.waited_ms)

    @property
    def epoch(self) -> Epoch:  # of the next event
        return self.state.epoch

    @property
    def key(self) -> Verifier:
        """The log key."""
        first = checkpoint.origin(self.state.enclave, leaf_hash(self.entries[0]))
        name = checkpoint.incarnated(first, self.state.incarnation)
        return verifier(name, self.log_key.public_key().public_bytes_raw())

    def rows(self, start: int = 0) -> Iterator[Row]:
        """Give the entries as an archive does."""
        for index in range(start, len(self.entries)):
            yield Row(index=index, body=self.entries[index])

    def add(self, event: Event) -> int:
        """Append the event and return its index."""
        index = len(self.entries)
        apply(self.state, index, event)
        return self.force(event)

    def force(self, event: Event) -> int:
        """Append the event as a liar would, whether it follows or not, and return its index."""
        self.events.append(event)
        self.entries.append(encode(event))
        self.tree.append(leaf_hash(self.entries[-1]))
        self.head = Head(size=self.tree.size, root=self.tree.root())
        return self.tree.size - 1

    def start(self) -> None:
        """Genesis and first term."""
        self.add(
            genesis(
                rules=policy(*self.rules),
                rulers=rulers(self.alice, self.bob, self.carol),
                log_public_key=self.log_key.public_key().public_bytes_raw(),
            )
        )
        self.start_term()

    def start_term(self) -> int:
        """Let the next term start."""
        return self.add(
            TermStarted(at=self.at, epoch=Epoch(self.epoch + 1), holder=f"process {self.epoch}", software="keyvault 0")
        )

    # Changes of power ---------------------------------------------------------------------------------------------

    def proposed(
        self, action: Action, parameters: dict[str, str], person: Person | None = None, **attached: object
    ) -> ProposalMade:
        """Return the fact that this person (alice) asks for a change."""
        asking = person or self.alice
        said = statement(
            self.state,
            action,
            parameters,
            requester=asking.name,
            nonce=f"{len(self.entries):04x}",
            expires_at=self.at + 3 * DAY_MS,
        )
        return decide_proposal(self.state, propose(said, asking, **attached), self.at)

    def propose(
        self, action: Action, parameters: dict[str, str], person: Person | None = None, **attached: object
    ) -> bytes:
        """Record it and return the proposal's name."""
        made = self.proposed(action, parameters, person, **attached)
        self.add(made)
        return proposal_id_of(made.statement)

    def vote(self, proposal: bytes, person: Person | None = None, voice: Voice = Voice.APPROVE) -> int:
        """Record what this person (bob) says to the proposal."""
        said = self.state.proposals.find(proposal).statement_bytes
        return self.add(decide_ballot(self.state, ballot(said, person or self.bob, voice), self.at))

    def carry_out(self, proposal: bytes, made: TokenKey | None = None) -> int:
        """Record what the approved proposal comes to."""
        plan = carry_out(self.state, proposal, self.at)
        if isinstance(plan, KeyToMake):
            return self.add(plan.created(made.public_key if made else b""))
        return self.add(plan.joined(b"w" * 384) if isinstance(plan, TokenToJoin) else plan)

    def change(
        self,
        action: Action,
        parameters: dict[str, str],
        *,
        person: Person | None = None,
        approvers: Sequence[Person] | None = None,
        made: TokenKey | None = None,
        wait_ms: int = 0,
        **attached: object,
    ) -> int:
        """Ask (alice), approve (bob) unless it is for one alone, wait, carry out; return the index of the last."""
        proposal = self.propose(action, parameters, person, **attached)
        if proposal not in self.state.proposals.ready:
            for approver in approvers or (self.bob,):
                self.vote(proposal, approver)
        self.waited_ms += wait_ms
        return self.carry_out(proposal, made)

    def create_key(self, name: str, made: TokenKey, initial: str = "ACTIVE") -> int:
        """Create or import a key."""
        self.token[name] = made
        parameters = key_parameters(name, made.algorithm, initial=initial)
        if made.algorithm not in HMAC_ALGORITHMS:
            return self.change(Action.KEY_CREATE, parameters, made=made)
        parameters["wrapped_sha256"] = hashlib.sha256(WRAPPED).hexdigest()
        return self.change(Action.KEY_IMPORT, parameters, made=made, wrapped_secret=WRAPPED)

    def rotate_key(self, name: str, made: TokenKey) -> int:
        """Make the next version of a key."""
        version = str(self.state.keys[KeyId(name)].newest + 1)
        self.token[name] = made
        parameters = {"key": name, "version": version, "initial": "ACTIVE", "wrapped_sha256": ""}
        return self.change(Action.KEY_ROTATE, parameters, made=made)

    def set_key_state(self, name: str, state: KeyState, version: int = 1) -> int:
        """Enable or disable a version of a key."""
        action = Action.KEY_ENABLE if state is KeyState.ACTIVE else Action.KEY_DISABLE
        return self.change(action, {"key": name, "version": str(version)})

    def destroy_key(self, name: str) -> int:
        """Schedule the destruction of a key's first version, wait, and destroy it."""
        self.change(Action.KEY_DESTROY, {"key": name, "version": "1", "after_days": "7"})
        self.waited_ms += 7 * DAY_MS
        return self.add(destroyed(self.state, KeyId(name), 1, self.at))

    def publish_policy(self, *rules: Rule) -> int:
        """Publish a policy that is the next version, of these rules or of the same and one that denies nothing new."""
        version = self.state.policy.version + 1
        never = replace(RULE, id=f"never-{version}", verdict=Verdict.DENY, keys=frozenset({"none"}))
        new = policy(*(rules or (RULE, ASK, never)), version=version)
        document = encode_policy(new)
        said = {"policy_sha256": policy_sha256(document).hex(), "version": str(new.version), "replay_sha256": "none"}
        return self.change(Action.POLICY_PUBLISH, said, wait_ms=1_000, document=document, policy=new)

    def charter_parameters(self, new: Charter, reason: str | None = None) -> tuple[dict[str, str], dict[str, object]]:
        """Return the parameters of a statement about this charter, and what goes with it."""
        document = encode_charter(new)
        parameters = {"charter_sha256": hashlib.sha256(document).hexdigest(), "version": str(new.version)}
        if reason is not None:
            parameters["reason"] = reason
        return parameters, {"document": document, "charter": new}

    def change_charter(self, new: Charter, *approvers: Person) -> int:
        """Replace the charter; alice asks, bob or these approve."""
        parameters, attached = self.charter_parameters(new)
        return self.change(Action.CHARTER_CHANGE, parameters, approvers=approvers, **attached)  # type: ignore[arg-type]  # by name

    def break_glass(self, new: Charter, *approvers: Person) -> int:
        """Replace the charter by breaking the glass; alice asks, bob and carol or these approve, a day later."""
        parameters, attached = self.charter_parameters(new, "keys were lost")
        return self.change(
            Action.BREAK_GLASS,
            parameters,
            approvers=approvers or (self.bob, self.carol),
            wait_ms=DAY_MS,
            **attached,  # type: ignore[arg-type]  # by name
        )

    def freeze(self, scope: str = "key", name: str = "k1") -> int:
        """Let alice stop something."""
        return self.change(Action.FREEZE, {"scope": scope, "name": name})

    def thaw(self, scope: str = "key", name: str = "k1") -> int:
        """Lift the freeze."""
        return self.change(Action.THAW, {"scope": scope, "name": name})

    # Signatures ---------------------------------------------------------------------------------------------------

    def escalated(self, name: str = "vault", request_id: str | None = None) -> SignatureEscalated:
        """Return the fact that members are asked about a signature that could come next."""
        decided = self._decide(self._command(name, request_id))
        assert isinstance(decided, SignatureEscalated)
        return decided

    def approved_signature(self, escalation: SignatureEscalated) -> SignatureIssued:
        """Return the signature that members approved, as it could come next."""
        command = RequestSignature(
            request=escalation.request, intent=intents.parse(escalation.request.payload, intents.ANYBODY)
        )
        decided = self._decide(command)
        assert isinstance(decided, Authorised)
        return decided.issued(self.state, self.token[escalation.request.key].sign(command.intent.signing_input))

    def sign_approved(self, name: str = "vault", approvers: Sequence[Person] | None = None) -> int:
        """Ask for a signature, let members (bob and carol) approve it, and record it."""
        escalation = self.escalated(name)
        self.add(escalation)
        for person in approvers or (self.bob, self.carol):
            self.vote(proposal_id_of(escalation.statement), person)
        return self.add(self.approved_signature(escalation))

    def _command(self, name: str, request_id: str | None) -> RequestSignature:
        digest = hashlib.sha256(f"{name} {len(self.entries)}".encode()).digest()
        return digest_request(request_id or f"request-{len(self.entries)}", digest=digest, key=name)

    def _decide(self, command: RequestSignature) -> object:
        return decide_signature(self.state, Reservations(), command, self.at, intents.describe)

    def issued(self, name: str, request_id: str | None = None) -> SignatureIssued:
        """Return a signature that could come next."""
        digest = hashlib.sha256(f"{name} {len(self.entries)}".encode()).digest()
        return SignatureIssued(
            at=self.at,
            epoch=self.epoch,
            request=self._request(name, digest, request_id),
            key_version=1,
            signing_input=digest,
            effects=(Effect(operation=Operation.OPAQUE),),
            completeness=Completeness.OPAQUE,
            policy_version=self.state.policy.version,
            policy_sha256=self.state.policy_sha256,
            rules=("digests",),
            signature=self.token[name].sign(digest),
        )

    def refused(self, name: str = "k1") -> SignatureRefused:
        """Return a refusal that could come next."""
        return SignatureRefused(
            at=self.at,
            epoch=self.epoch,
            request=self._request(name, bytes(32), None),
            reason=Reason.NO_RULE_ALLOWS,
            explanation="no rule allows raw digests with this key",
            policy_version=self.state.policy.version,
            policy_sha256=self.state.policy_sha256,
            rules=(),
        )

    def _request(self, name: str, digest: bytes, request_id: str | None) -> SignatureRequest:
        return SignatureRequest(
            request_id=RequestId(request_id or f"request-{len(self.entries)}"),
            principal=BOT,
            key=name,
            payload=self._payload(name, digest),
        )

    def _payload(self, name: str, digest: bytes) -> Payload:
        if name in self.token and self.token[name].algorithm in {KeyAlgorithm.ED25519, *HMAC_ALGORITHMS}:
            return Payload(kind=PayloadKind.BINANCE_REST, parts=(digest.hex().encode(), b""))
        return Payload(kind=PayloadKind.RAW_DIGEST, parts=(digest,))

    def sign_checkpoint(self) -> bytes:
        """Sign the ledger as it is and return the note."""
        text = checkpoint.signing_text(self.key.name, self.head.size, self.head.root)
        note = checkpoint.assemble(text, self.key, self.log_key.sign(text))
        self.checkpoints.append((self.head.size, note))
        return note

    def write(self, store: Store) -> None:
        """Put everything into a store."""
        epoch = store.acquire_term("test")
        entries = [
            Entry(body=body, request_key=key_of(event)) for body, event in zip(self.entries, self.events, strict=True)
        ]
        store.append(epoch=epoch, expected=EMPTY_HEAD, entries=entries, new=self.head)
        for size, note in self.checkpoints:
            store.put_checkpoint(epoch=epoch, size=size, note=note)


def sample(signatures: int = 40) -> Ledger:
    """Return a ledger with every kind of key and most kinds of facts, checkpoints, and a tail that none covers yet."""
    ledger = Ledger()
    ledger.start()
    for name, made in (("k1", secp256k1_key()), ("p1", p256_key()), ("e1", ed25519_key()), ("h1", hmac_key())):
        ledger.create_key(name, made)
    ledger.sign_checkpoint()
    for number in range(signatures):
        ledger.add(ledger.issued(("k1", "p1", "e1", "h1")[number % 4]))
        if number % 10 == 9:
            ledger.add(ledger.refused())
            ledger.sign_checkpoint()
    ledger.set_key_state("p1", KeyState.DISABLED)
    ledger.publish_policy()
    ledger.set_key_state("p1", KeyState.ACTIVE)
    ledger.start_term()
    ledger.create_key("vault", secp256k1_key())
    ledger.sign_approved()
    ledger.freeze()
    ledger.thaw()
    ledger.change_charter(rulers(ledger.alice, ledger.bob, ledger.carol, version=2))
    ledger.break_glass(rulers(ledger.alice, ledger.bob, ledger.carol, version=3))
    ledger.sign_checkpoint()
    ledger.add(ledger.issued("p1"))
    ledger.add(ledger.refused())
    return ledger
