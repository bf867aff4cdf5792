"""Judge a recorded signature again: would the policy in force have allowed what the fact says was decided?"""

from collections.abc import Callable

from keyvault.core import limits
from keyvault.core.errors import Malformed, Refused
from keyvault.core.events import Event, SignatureIssued
from keyvault.core.familiar import Familiar
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import UNSTAMPED, Intent, Payload, PayloadKind, Signer, ending
from keyvault.core.keys import KeyAlgorithm, KeyVersion
from keyvault.core.policy import CompiledPolicy
from keyvault.core.policy_facts import Moment

_SECP256K1 = frozenset({KeyAlgorithm.SECP256K1})
_ED25519 = frozenset({KeyAlgorithm.ED25519})
_HMAC_SHA256 = frozenset({KeyAlgorithm.HMAC_SHA256})
_HMAC_SHA512 = frozenset({KeyAlgorithm.HMAC_SHA512})

ALGORITHMS = {
    PayloadKind.EVM_TRANSACTION: _SECP256K1,
    PayloadKind.EVM_AUTHORIZATION: _SECP256K1,
    PayloadKind.EVM_MESSAGE: _SECP256K1,
    PayloadKind.TYPED_DATA: _SECP256K1,
    PayloadKind.HYPERLIQUID_ACTION: _SECP256K1,
    PayloadKind.SOLANA_MESSAGE: _ED25519,
    PayloadKind.BITCOIN_PSBT: _SECP256K1,
    PayloadKind.COSMOS_SIGN_DOC: _SECP256K1,
    PayloadKind.BINANCE_REST: _HMAC_SHA256 | _ED25519,
    PayloadKind.BINANCE_WS: _HMAC_SHA256 | _ED25519,
    PayloadKind.BINANCE_WS_LOGON: _ED25519,
    PayloadKind.BINANCE_FIX_LOGON: _ED25519,
    PayloadKind.BYBIT_REST: _HMAC_SHA256,
    PayloadKind.OKX_REST: _HMAC_SHA256,
    PayloadKind.OKX_WS_LOGON: _HMAC_SHA256,
    PayloadKind.COINBASE_JWT: frozenset({KeyAlgorithm.P256, KeyAlgorithm.ED25519}),
    PayloadKind.KRAKEN_REST: _HMAC_SHA512,
    PayloadKind.KRAKEN_FIX_LOGON: _HMAC_SHA512,
    PayloadKind.DERIBIT_REST: _HMAC_SHA256,
    PayloadKind.DERIBIT_AUTH: _HMAC_SHA256,
    PayloadKind.POLYMARKET_REST: _HMAC_SHA256,
    PayloadKind.RAW_DIGEST: frozenset({KeyAlgorithm.SECP256K1, KeyAlgorithm.P256}),
}
"""Keys that make a useful signature, as keyvault.intents says, which an auditor does not need to have."""


Reader = Callable[[Payload, Signer], Intent]
"""What decodes payloads: ``keyvault.intents.parse``, which this package does not know. Raises Malformed."""


def misread(event: SignatureIssued, key: KeyVersion, read: Reader) -> str | None:
    """Return what is wrong with what the fact says that its payload means, in words, or None."""
    try:
        intent = read(event.request.payload, Signer.of(key, event.stamp or UNSTAMPED))
    except Malformed as error:
        return f"its payload cannot be decoded: {error}"
    if intent.signing_input != event.signing_input:
        return "what was signed is not what its payload says"
    if intent.stamped != (event.stamp is not None):
        return "it says of its time what its payload does not"
    if (intent.slot, ending(intent, event.at)) != (event.slot, event.expires_at):
        return "its slot or its end is not what its payload says"
    if (intent.effects, intent.completeness) != (event.effects, event.completeness):
        return "its payload does something else than the entry says"
    return None


def misjudged(
    rules: CompiledPolicy, familiar: Familiar, key: KeyId, algorithm: KeyAlgorithm, event: SignatureIssued
) -> str | None:
    """Return what is wrong with the decision, in words, or None.

    ``rules`` is the policy in force at the fact, ``familiar`` what was signed for before.

    Of an escalated signature: only that it names a proposal. Whether that was approved is not judged here.
    """
    payload = event.request.payload
    fitting = ALGORITHMS[payload.kind]
    if algorithm not in fitting:
        return f"{payload.kind} cannot be signed by a key with algorithm {algorithm}"
    if payload.kind is PayloadKind.RAW_DIGEST and payload.parts != (event.signing_input,):
        return "what was signed is not the digest that was asked for"
    intent = Intent(
        kind=payload.kind,
        algorithms=fitting,
        signing_input=event.signing_input,
        effects=event.effects,
        completeness=event.completeness,
        expires_at=event.expires_at,
        slot=event.slot,
    )
    moment = Moment(now=event.at, familiar=familiar, known=event.known)
    try:
        permission = rules.evaluate(key=key, principal=event.request.principal, intent=intent, moment=moment)
    except Refused as error:
        return f"the policy in force refuses its effects: {error}"
    if permission.shadows != event.shadows:
        return f"the shadow rules that match are {_named(permission.shadows)}, the entry says {_named(event.shadows)}"
    if permission.rules != event.rules:
        return f"the policy in force allows it by {_named(permission.rules)}, the entry says by {_named(event.rules)}"
    if permission.quorums and not event.proposal:
        return "the policy in force escalates it, and no proposal is named"
    if event.proposal and not permission.quorums:
        return "it names a proposal, but the policy in force does not escalate it"
    return None


def dated_back(event: Event, latest_at: UnixMillis) -> str | None:
    """Return what is wrong with the date of an approved signature after a fact of ``latest_at``, in words, or None.

    That it is not dated before its quorum was complete is what ``apply`` looks at.
    """
    if not isinstance(event, SignatureIssued) or not event.proposal:
        return None
    back_ms = latest_at - event.at
    if back_ms <= limits.BACKDATING_MS_MAX:
        return None
    return (
        f"the signature that proposal {event.proposal.hex()[:12]} asked for is dated {back_ms} ms before a fact that"
        f" stands before it; {limits.BACKDATING_MS_MAX} ms are explained by waiting for the token"
    )


def _named(rules: tuple[str, ...]) -> str:
    return ", ".join(rules) or "no rule"
