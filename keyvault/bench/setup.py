"""Keys and policy of the deployment that is measured: rules and limits as a desk would have them."""

import secrets
from collections.abc import Mapping, Sequence

from keyvault.bench.options import ALGORITHMS, Kind
from keyvault.bench.processes import ENCLAVE, BenchFailed, Desk, Served
from keyvault.bench.requests import CHAIN_ID, DESTINATION, key_of
from keyvault.client import AsyncClient, MemberKey
from keyvault.core.events import KeyCreated
from keyvault.core.ids import KeyId
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.keys import HMAC_ALGORITHMS
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.proposals import Outcome
from keyvault.ledger import codec

_HOUR_MS = 3_600_000
_COUNT_MAX = 10**12
"""More than any machine signs in a day: the limit is checked every time and never says no."""
_WEI_MAX = 10**36
_HMAC_SECRET_BYTES = 48


def policy(version: int) -> Policy:
    """Return the policy of the measurements: one rule for each format, two count windows and one of amounts."""
    ecdsa, orders = key_of(Kind.P256), frozenset({key_of(Kind.ED25519), key_of(Kind.HMAC)})
    transfers = key_of(Kind.SECP256K1)
    return Policy(
        version=version,
        rules=(
            Rule(
                id="digests",
                verdict=Verdict.ALLOW,
                keys=frozenset({ecdsa}),
                principals=ANY,
                kinds=frozenset({PayloadKind.RAW_DIGEST}),
                operations=frozenset({Operation.OPAQUE}),
            ),
            Rule(
                id="transfers",
                verdict=Verdict.ALLOW,
                keys=frozenset({transfers}),
                principals=ANY,
                kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
                operations=frozenset({Operation.TRANSFER}),
                chains=frozenset({CHAIN_ID}),
                destinations=frozenset({f"0x{DESTINATION.hex()}"}),
                amount_max=10**18,
                fee_max=10**18,
            ),
            Rule(
                id="orders",
                verdict=Verdict.ALLOW,
                keys=orders,
                principals=ANY,
                kinds=frozenset({PayloadKind.BINANCE_REST}),
                operations=frozenset({Operation.ORDER}),
                venues=frozenset({"binance"}),
                symbols=frozenset({"BTCUSDT"}),
            ),
        ),
        limits=(
            Limit(id="per-minute", keys=ANY, window_ms=60_000, count_max=_COUNT_MAX),
            Limit(id="per-day", keys=ANY, window_ms=24 * _HOUR_MS, count_max=_COUNT_MAX),
            Limit(
                id="wei-per-day",
                keys=frozenset({transfers}),
                window_ms=24 * _HOUR_MS,
                amount_max=_WEI_MAX,
                chain_id=CHAIN_ID,
            ),
        ),
    )


async def publish_policy(client: AsyncClient, asker: MemberKey, others: Sequence[MemberKey]) -> None:
    """Publish the policy of the measurements and wait for its delay to end."""
    proposal = await client.publish_policy(policy(2), signer=asker, approvers=others)
    proposal = await client.settled(proposal)
    if proposal.outcome is not Outcome.EXECUTED:
        raise BenchFailed(f"the policy was proposed and is {proposal.outcome}")


async def set_up(desk: Desk, served: Served) -> Mapping[Kind, bytes]:
    """Make one key of each kind and publish the policy, as an admin does; return the CKA_ID of each key."""
    asker, *others = desk.members()
    async with AsyncClient(f"127.0.0.1:{served.port}", desk.credentials("admin", "alice"), enclave=ENCLAVE) as client:
        for kind in Kind:
            if ALGORITHMS[kind] in HMAC_ALGORITHMS:
                secret = secrets.token_bytes(_HMAC_SECRET_BYTES)
                await client.import_hmac_key(key_of(kind), secret, signer=asker, approvers=others)
            else:
                await client.create_key(key_of(kind), ALGORITHMS[kind], signer=asker, approvers=others)
        await publish_policy(client, asker, others)
        facts = [codec.decode(entry.body) async for entry in client.entries()]
    created = {fact.key: fact.token_object_id for fact in facts if isinstance(fact, KeyCreated)}
    return {kind: created[KeyId(key_of(kind))] for kind in Kind}
