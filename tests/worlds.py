"""Small worlds for tests: members with keys, a genesis, statements, policies, requests."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault import intents
from keyvault.core.approvals import EnvelopeSignature, Voice, keyid_of, signed_bytes
from keyvault.core.charter import STRICT, Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.commands import CastBallot, Propose, RequestSignature
from keyvault.core.events import Genesis, SignatureRequest
from keyvault.core.ids import EnclaveName, Epoch, GroupName, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.intent import Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.quorum import Of, Quorum, parse_quorum
from keyvault.core.state import State
from keyvault.core.statements import Action, Statement, proposal_id_of
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy

NOW = UnixMillis(1_790_000_000_000)
BOT = Principal("spiffe://test.local/bot/maker")
OTHER_BOT = Principal("spiffe://test.local/bot/taker")
ADMIN = Principal("spiffe://test.local/admin/desk")
LOOSEN_DELAY_MS = 1_000

MemberKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def spki(key: MemberKey) -> bytes:
    """Return SubjectPublicKeyInfo (DER)."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Person:
    """A member and the private key in their hands."""

    name: str
    roles: frozenset[Role] = frozenset({Role.ADMIN})
    key: MemberKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def member(self) -> Member:
        """What the ledger knows of this person."""
        return Member(name=MemberName(self.name), roles=self.roles, public_keys=(spki(self.key),))

    def say(self, voice: Voice, statement: bytes) -> EnvelopeSignature:
        """Sign a statement as DSSE does, to say this."""
        message = signed_bytes(voice, statement)
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            signature = self.key.sign(message)
        else:
            signature = self.key.sign(message, ec.ECDSA(SHA256()))
        return EnvelopeSignature(keyid=keyid_of(spki(self.key)), sig=signature)


def people(*names: str) -> tuple[Person, ...]:
    """Return admins with these names."""
    return tuple(Person(name) for name in names)


def charter(
    *persons: Person,
    version: int = 1,
    groups: dict[str, tuple[str, ...]] | None = None,
    thresholds: dict[Duty, str | Threshold] | None = None,
    members: tuple[Member, ...] | None = None,
) -> Charter:
    """Return a charter in which any one other admin approves everything, unless told otherwise.

    The group ``admins`` holds everybody with a voice. A threshold of "" takes the duty away. What is strict is as
    where a charter says nothing of it.
    """
    standing = members or tuple(person.member for person in persons)
    everybody = Group(
        name=GroupName("admins"), members=frozenset(member.name for member in standing if member.has_voice)
    )
    others = tuple(
        Group(name=GroupName(name), members=frozenset(map(MemberName, names))) for name, names in (groups or {}).items()
    )
    one: Quorum = Of(1, GroupName("admins"))
    plan: dict[Duty, Threshold] = {
        duty: Threshold(duty=duty, quorum=one, delay_ms=LOOSEN_DELAY_MS if duty is Duty.POLICY_LOOSEN else 0)
        for duty in Duty
        if duty is not Duty.BREAK_GLASS and duty not in STRICT
    }
    for duty, wanted in (thresholds or {}).items():
        if wanted == "":
            plan.pop(duty, None)
        elif isinstance(wanted, Threshold):
            plan[duty] = wanted
        else:
            delay_ms = plan[duty].delay_ms if duty in plan else 0
            plan[duty] = Threshold(duty=duty, quorum=parse_quorum(wanted), delay_ms=delay_ms)
    if Duty.TOKEN_JOIN not in (thresholds or {}) and Duty.CHARTER in plan:  # it must be as strict
        plan[Duty.TOKEN_JOIN] = Threshold(duty=Duty.TOKEN_JOIN, quorum=plan[Duty.CHARTER].quorum)
    return Charter(version=version, members=standing, groups=(everybody, *others), thresholds=tuple(plan.values()))


def policy(*rules: Rule, limits: tuple[Limit, ...] = (), version: int = 1) -> Policy:
    """Return a policy of these rules."""
    return Policy(version=version, rules=rules, limits=limits)


def allow_digest(key: str = "signer", rule_id: str = "digests") -> Rule:
    """Return a rule that lets the bot sign raw digests with this key."""
    return Rule(
        id=rule_id,
        verdict=Verdict.ALLOW,
        keys=frozenset({key}),
        principals=frozenset({BOT}),
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    )


def allow_transfers(key: str = "signer", amount_max: int = 10**18) -> Rule:
    """Return a rule that lets any bot send so much anywhere on any chain."""
    return Rule(
        id="transfers",
        verdict=Verdict.ALLOW,
        keys=frozenset({key}),
        principals=ANY,
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        operations=frozenset({Operation.TRANSFER}),
        chains=ANY,
        destinations=ANY,
        amount_max=amount_max,
        fee_max=ANY,
    )


def escalate_digest(quorum: str = "1 of admins", key: str = "signer", rule_id: str = "ask") -> Rule:
    """Return a rule that lets the bot sign raw digests with this key after members approved."""
    return Rule(
        id=rule_id,
        verdict=Verdict.ESCALATE,
        keys=frozenset({key}),
        principals=frozenset({BOT}),
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
        quorum=quorum,
    )


def genesis(
    *persons: Person, rules: Policy | None = None, rulers: Charter | None = None, log_public_key: bytes = b"L" * 32
) -> Genesis:
    """Return entry 0 of an enclave named hot."""
    first = rules or policy()
    ruling = rulers or charter(*persons)
    return Genesis(
        at=NOW,
        epoch=Epoch(0),
        enclave=EnclaveName("hot"),
        log_public_key=log_public_key,
        import_public_key=b"",
        charter=ruling,
        charter_document=encode_charter(ruling),
        policy=first,
        policy_document=encode_policy(first),
        nonce=b"n" * 16,
    )


def statement(  # the facts of a statement, each with a default that fits
    state: State,
    action: Action,
    parameters: dict[str, str],
    *,
    requester: str = "alice",
    nonce: str = "00",
    expires_at: int = NOW + 600_000,
    policy_version: int | None = None,
    enclave_id: str | None = None,
) -> Statement:
    """Return a statement that fits the state unless told otherwise."""
    return Statement(
        action=action,
        enclave=state.enclave,
        enclave_id=enclave_id or state.enclave_id.hex(),
        policy_version=policy_version or state.policy.version,
        requester=requester,
        parameters=tuple(sorted(parameters.items())),
        nonce=nonce,
        expires_at=UnixMillis(expires_at),
    )


def key_parameters(
    key: str = "signer",
    algorithm: KeyAlgorithm = KeyAlgorithm.SECP256K1,
    *,
    initial: str = "ACTIVE",
    cryptoperiod_days: int = 0,
    rotation: str = "warn",
) -> dict[str, str]:
    """Return the parameters of key.create."""
    return {
        "key": key,
        "algorithm": algorithm.value,
        "initial": initial,
        "cryptoperiod_days": str(cryptoperiod_days),
        "rotation": rotation,
    }


def propose(said: Statement, person: Person, **attached: object) -> Propose:
    """Return the command with which this person asks for it; ``attached`` as in Propose."""
    payload = said.encode()
    return Propose(
        principal=ADMIN,
        statement=payload,
        signature=person.say(Voice.REQUEST, payload),
        **attached,  # type: ignore[arg-type]  # test glue
    )


def ballot(said: Statement | bytes, person: Person, voice: Voice = Voice.APPROVE) -> CastBallot:
    """Return the command with which this person says something to it."""
    payload = said if isinstance(said, bytes) else said.encode()
    return CastBallot(
        principal=ADMIN,
        proposal=proposal_id_of(payload),
        voice=voice,
        signature=person.say(voice, payload),
    )


def digest_request(
    request_id: str, *, digest: bytes = b"d" * 32, key: str = "signer", principal: Principal = BOT
) -> RequestSignature:
    """Return a request for a signature over a raw digest."""
    return request(request_id, Payload(kind=PayloadKind.RAW_DIGEST, parts=(digest,)), key=key, principal=principal)


def request(request_id: str, payload: Payload, *, key: str = "signer", principal: Principal = BOT) -> RequestSignature:
    """Return a parsed request."""
    asked = SignatureRequest(request_id=RequestId(request_id), principal=principal, key=key, payload=payload)
    return RequestSignature(request=asked, intent=intents.parse(payload, intents.ANYBODY))
