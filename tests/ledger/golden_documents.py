"""The policy and the charter of the golden events, with fixed keys."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.ids import GroupName, MemberName, Principal
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_rules import Asset, Interval, Market, Per, Prices
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
WHOLE_POLICY = Policy(
    version=2,
    lists={"treasury": frozenset({"0x" + "ab" * 20, "bc1qhome"})},
    tags={"desk": frozenset({"eth-mm-1", "btc-1"})},
    prices=Prices(
        assets=(
            Asset(name="ETH", usd=3_000_000_000, decimals=18, places=frozenset({(1, "native"), ("bybit", "ETH")})),
            Asset(name="USDT", usd=1_000_000, decimals=6, places=frozenset({("bybit", "USDT"), ("solana", "Es9v")})),
        ),
        markets=(Market(venue="bybit", symbol="ETHUSDT", base="ETH", quote="USDT"),),
        as_of=1_790_000_000_000,
        age_ms_max=7 * 86_400_000,
    ),
    rules=(
        Rule(
            id="trade",
            verdict=Verdict.ALLOW,
            keys=frozenset({"bybit-1"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.BYBIT_REST}),
            operations=frozenset({Operation.ORDER}),
            venues=frozenset({"bybit"}),
            symbols=frozenset({"ETHUSDT"}),
            sides=frozenset({"BUY", "SELL"}),
            usd_max=1_000_000_000,
            price_band_bps=150,
            validity_ms_max=60_000,
            hours=(Interval(days=frozenset(range(5)), start=480, end=1_080),),
            when="usd_micros < 500000000 || side == 'SELL'",
        ),
        Rule(
            id="swap",
            verdict=Verdict.ALLOW,
            shadow=True,
            keys=ANY,
            principals=ANY,
            kinds=frozenset({PayloadKind.TYPED_DATA}),
            operations=frozenset({Operation.ALLOWANCE}),
            chains=frozenset({1, "cosmos:dydx-mainnet-1"}),
            destinations=frozenset({"@treasury"}),
            assets=frozenset({"native", "0x" + "70" * 20}),
            contracts=frozenset({"0x" + "70" * 20}),
            type_hashes=frozenset({"0x" + "aa" * 32}),
            amount_max=10**18,
            validity_ms_max=3_600_000,
            price_band_bps=ANY,
        ),
        Rule(id="new", verdict=Verdict.ESCALATE, quorum="1 of risk", first_seen_ms=86_400_000, usd_above=10**9),
        Rule(id="alike", verdict=Verdict.DENY, look_alike=True),
    ),
    limits=(
        Limit(
            id="desk-dollars",
            keys=ANY,
            window_ms=3_600_000,
            usd_max=5 * 10**12,
            per=Per.TAG,
            tags=frozenset({"desk"}),
            principals=frozenset({"spiffe://firm.example/bot/maker-1"}),
            operations=frozenset({Operation.ORDER, Operation.WITHDRAW}),
            chains=frozenset({1, "solana"}),
            venues=frozenset({"bybit"}),
            destinations=frozenset({"@treasury"}),
        ),
        Limit(id="satoshi", keys=ANY, window_ms=1_000, amount_max=10**8, network="bitcoin", per=Per.ALL),
        Limit(id="coins", keys=ANY, window_ms=1_000, amount_max=1, venue="bybit", asset="USDT", per=Per.DESTINATION),
    ),
)
"""All that a policy can say."""
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
