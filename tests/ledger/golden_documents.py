"""The policy and the charter of the golden events, with fixed keys."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.ids import GroupName, MemberName, Principal
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.quorum import parse_quorum
from tests.worlds import spki

POLICY = Policy(
    version=1,
    rules=(
        Rule(
            id="pay",
            verdict=Verdict.ALLOW,
            keys=frozenset({"eth-mm-1", "eth-mm-2"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.EVM_TRANSACTION, PayloadKind.TYPED_DATA}),
            operations=frozenset({Operation.TRANSFER, Operation.CALL}),
            chains=frozenset({1, 2**64 + 1}),
            destinations=frozenset({"0x" + "ab" * 20}),
            selectors=frozenset({"0xa9059cbb"}),
            primary_types=ANY,
            amount_max=10**18,
            fee_max=0,
        ),
        Rule(id="never", verdict=Verdict.DENY, venues=frozenset({"binance"}), amount_max=ANY, chains=ANY),
    ),
    limits=(
        Limit(id="per-hour", keys=ANY, window_ms=3_600_000, count_max=100, amount_max=10**20, chain_id=1),
        Limit(id="count", keys=frozenset({"eth-mm-1"}), window_ms=1_000, count_max=0),
    ),
)
ALICE = spki(ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
BOB = spki(ec.derive_private_key(2, ec.SECP256R1()))
CHARTER = Charter(
    version=1,
    members=(
        Member(
            name=MemberName("alice"),
            roles=frozenset({Role.ADMIN, Role.APPROVER}),
            public_keys=(ALICE, BOB),
            principals=frozenset({Principal("spiffe://firm.example/bot/maker-1")}),
        ),
        Member(
            name=MemberName("carol"),
            roles=frozenset({Role.AUDITOR}),
            public_keys=(spki(ec.derive_private_key(3, ec.SECP256R1())),),
        ),
        Member(
            name=MemberName("dave"),
            roles=frozenset({Role.APPROVER}),
            public_keys=(spki(ec.derive_private_key(4, ec.SECP256R1())),),
        ),
    ),
    groups=(
        Group(name=GroupName("risk"), members=frozenset({MemberName("alice"), MemberName("dave")})),
        Group(name=GroupName("owners"), members=frozenset({MemberName("dave")})),
    ),
    thresholds=(
        Threshold(duty=Duty.CHARTER, quorum=parse_quorum("1 of risk and (1 of owners or 2 of risk)")),
        Threshold(duty=Duty.POLICY_LOOSEN, quorum=parse_quorum("1 of risk"), delay_ms=3_600_000),
        Threshold(duty=Duty.FREEZE, quorum=parse_quorum("1 of risk")),
    ),
)
