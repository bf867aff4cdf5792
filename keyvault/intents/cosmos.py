"""Transactions of Cosmos chains in SIGN_MODE_DIRECT: the bytes of a SignDoc, signed as their SHA-256.

SignDoc { body_bytes: TxBody, auth_info_bytes: AuthInfo, chain_id, account_number }     cosmos-sdk ADR-020

The chain verifies the bytes that it is sent, and parses them leniently, so every part must be in its one encoding, down
to the messages inside Any (ADR-027, ``protobuf_wire``). What a message does is read by ``cosmos_effects`` and
``dydx_effects``; a message that neither knows is OPAQUE, and its inside is not looked at.

Refused by name: more than one signer, sign modes other than DIRECT, another public key than the signer's, a fee that
somebody else pays or grants, tips, extensions, except the one by which dYdX chooses authenticators: those are stated in
``via``, and the transaction is that of the account which its messages name, not of the key's own.

A fee in the chain's own coin is ``fee_max``. In any other, an amount would say nothing without its denomination: such a
fee is a TRANSFER of its own, to the module that takes fees. Which coin is a chain's own is known for ``_CHAINS``; on
other chains every fee is such a TRANSFER, and ``fee_max`` unknown.

A transaction happens as a whole or not at all, so it ends when one of its messages does. ``timeout_height`` and blocks
are bounds whose time is unknown: they make EXPIRY bound, and leave ``expires_at`` open. The slot is the account's
number and its sequence. On dYdX a sequence from 2^40 is a time in milliseconds, which is taken for 30 s around it
(v4-chain, ``protocol/x/accountplus/keeper/timestampnonce.go``).

Not supported: the fields ``unordered`` and ``timeout_timestamp`` of cosmos-sdk 0.53, keys other than secp256k1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import cosmos_effects, dydx_effects
from keyvault.intents.cosmos_address import Account, account_of_key
from keyvault.intents.cosmos_meaning import (
    Around,
    Meaning,
    Readers,
    check_ascending,
    read_coin,
    read_denomination,
    read_type_url,
)
from keyvault.intents.cosmos_messages import AUTH_INFO, PUBLIC_KEY, SIGN_DOC, TX_BODY, TX_RAW
from keyvault.intents.dydx_messages import TX_EXTENSION
from keyvault.intents.protobuf_wire import (
    Values,
    decode,
    encode,
    message_of,
    messages_of,
    number_of,
    numbers_of,
    octets_of,
    text_of,
)
from keyvault.intents.signature import r_s_parity

FIELD: Final = "cosmos_sign_doc"

_ALGORITHMS = frozenset({KeyAlgorithm.SECP256K1})
_READERS: Readers = MappingProxyType({**cosmos_effects.READERS, **dydx_effects.READERS})
_CHAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}", re.ASCII)
"""CometBFT takes at most 50 characters."""
_PUBLIC_KEY_TYPE: Final = "/cosmos.crypto.secp256k1.PubKey"
_EXTENSION_TYPE: Final = "/dydxprotocol.accountplus.TxExtension"
_MODE_DIRECT = 1
_MODES = {0: "UNSPECIFIED", 2: "TEXTUAL", 3: "DIRECT_AUX", 127: "LEGACY_AMINO_JSON", 191: "EIP_191"}
"""Those that are refused: ``proto/cosmos/tx/signing/v1beta1/signing.proto``."""
_TIME_SEQUENCE_MIN = 2**40
_TIME_SEQUENCE_MS = 30_000
_BINDS = frozenset({Bound.BODY, Bound.ACCOUNT, Bound.CHAIN})


@dataclass(frozen=True, slots=True)
class _Chain:
    prefix: str
    coin: str


_CHAINS: Final = MappingProxyType(
    {
        "dydx-mainnet-1": _Chain("dydx", "adydx"),
        "dydx-testnet-4": _Chain("dydx", "adv4tnt"),
        "cosmoshub-4": _Chain("cosmos", "uatom"),
        "osmosis-1": _Chain("osmo", "uosmo"),
    }
)
"""Prefix of addresses and own coin: github.com/cosmos/chain-registry."""


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a SignDoc, or raise Malformed."""
    data = payload.parts[0]
    document = decode(SIGN_DOC, data, FIELD)
    chain_id = text_of(document, "chain_id")
    if not _CHAIN_ID.fullmatch(chain_id):
        raise Malformed(f"{FIELD}.chain_id", "must name the chain: letters, digits and . _ -, at most 50")
    body = decode(TX_BODY, octets_of(document, "body_bytes"), f"{FIELD}.body")
    auth_info = decode(AUTH_INFO, octets_of(document, "auth_info_bytes"), f"{FIELD}.auth_info")
    key, identity = account_of_key(signer.public_key)
    sequence = _sequence(auth_info, key)
    chain = _CHAINS.get(chain_id)
    around = Around(
        network=f"cosmos:{chain_id}",
        key_identity=identity,
        prefix=chain.prefix if chain else None,
        memo=cosmos_effects.read_memo(body, f"{FIELD}.body", limits.COSMOS_MEMO_CHARS_MAX),
        via=_via(body),
    )
    meanings = _meanings(body, around)
    account = _account(meanings)
    sequenced = all(meaning.sequenced for meaning in meanings)
    by_time = sequenced and sequence >= _TIME_SEQUENCE_MIN and account is not None and account.prefix == "dydx"
    ends = [meaning.until for meaning in meanings if meaning.until is not None]
    if by_time:
        ends.append(UnixMillis(sequence + _TIME_SEQUENCE_MS))
    bounded = by_time or number_of(body, "timeout_height") > 0 or any(meaning.bounded for meaning in meanings)
    effects = _effects(meanings, auth_info, account, around, chain)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=sha256(data).digest(),
        effects=effects,
        completeness=_completeness(meanings),
        binds=_BINDS | ({Bound.NONCE} if sequenced else set()) | ({Bound.EXPIRY} if bounded else set()),
        not_before=UnixMillis(sequence - _TIME_SEQUENCE_MS) if by_time else None,
        expires_at=min(ends, default=None),
        slot=f"{around.network}:{number_of(document, 'account_number')}:{sequence}" if sequenced else meanings[0].slot,
        decoder_version=2,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 every format has a signer
    """Return the bytes of TxRaw, ready for ``BroadcastTx``, and their SHA-256, which is the transaction's hash."""
    r_s_parity(signature)
    document = decode(SIGN_DOC, payload.parts[0], FIELD)
    parts = {name: octets_of(document, name) for name in ("body_bytes", "auth_info_bytes")}
    raw = encode(TX_RAW, {**parts, "signatures": [signature.value]})
    return Output(raw=raw, transaction_hash=sha256(raw).digest())


def _sequence(auth_info: Values, key: bytes) -> int:
    """Return the sequence of the one signer, who must be the one with ``key``, in SIGN_MODE_DIRECT."""
    where = f"{FIELD}.auth_info"
    if "tip" in auth_info:
        raise Malformed(f"{where}.tip", "is not supported: it gives coins to whoever pays the fee")
    signers = messages_of(auth_info, "signer_infos")
    if len(signers) != 1:
        raise Malformed(f"{where}.signer_infos", f"must be one, not {len(signers)}")
    where = f"{where}.signer_infos[0]"
    (signer_info,) = signers
    mode_info = message_of(signer_info, "mode_info", where)
    if "multi" in mode_info:
        raise Malformed(f"{where}.mode_info.multi", "is not supported: the account is a multisig")
    mode = number_of(message_of(mode_info, "single", f"{where}.mode_info"), "mode")
    if mode != _MODE_DIRECT:
        raise Malformed(f"{where}.mode_info.single.mode", f"is {_MODES.get(mode, mode)}, must be SIGN_MODE_DIRECT (1)")
    public_key = message_of(signer_info, "public_key", where)
    if text_of(public_key, "type_url") != _PUBLIC_KEY_TYPE:
        raise Malformed(f"{where}.public_key.type_url", f"must be {_PUBLIC_KEY_TYPE}")
    value = decode(PUBLIC_KEY, octets_of(public_key, "value"), f"{where}.public_key")
    if octets_of(value, "key") != key:
        raise Malformed(f"{where}.public_key.key", "is not the key that is to sign")
    return number_of(signer_info, "sequence")


def _via(body: Values) -> str | None:
    """Return the authenticators that dYdX is to ask, None if there is no such choice; refuse every other extension."""
    where = f"{FIELD}.body"
    if messages_of(body, "extension_options"):
        raise Malformed(f"{where}.extension_options", "are not supported: they change what the transaction means")
    options = messages_of(body, "non_critical_extension_options")
    if not options:
        return None
    where = f"{where}.non_critical_extension_options"
    if len(options) > 1 or text_of(options[0], "type_url") != _EXTENSION_TYPE:
        raise Malformed(where, f"may only have one, {_EXTENSION_TYPE}")
    extension = decode(TX_EXTENSION, octets_of(options[0], "value"), f"{where}[0]")
    chosen = numbers_of(extension, "selected_authenticators")
    if not chosen or len(chosen) != len(messages_of(body, "messages")):
        raise Malformed(f"{where}[0].selected_authenticators", "must be one for each message")
    return f"authenticators {', '.join(map(str, chosen))}"


def _meanings(body: Values, around: Around) -> tuple[Meaning, ...]:
    messages = messages_of(body, "messages")
    where = f"{FIELD}.body.messages"
    if not messages:
        raise Malformed(where, "is empty: there must be something to do")
    if len(messages) > limits.EFFECTS_MAX:
        raise Malformed(where, f"are more than {limits.EFFECTS_MAX}")
    meanings = tuple(_meaning(message, f"{where}[{place}]", around) for place, message in enumerate(messages))
    if len(meanings) > 1 and any(meaning.alone for meaning in meanings):
        raise Malformed(where, "has an order or cancel beside another message: dYdX takes it only alone")
    return meanings


def _meaning(message: Values, where: str, around: Around) -> Meaning:
    type_url = read_type_url(text_of(message, "type_url"), f"{where}.type_url")
    known = _READERS.get(type_url)
    if known is None:
        opaque = Effect(
            operation=Operation.OPAQUE, network=around.network, fee_max=0, contract=type_url, via=around.via
        )
        return Meaning(account=None, effects=(opaque,), full=False)
    description, reader = known
    return reader(decode(description, octets_of(message, "value"), where), where, around)


def _account(meanings: Sequence[Meaning]) -> Account | None:
    """Return the account of the transaction, None if no message is known."""
    accounts = {meaning.account for meaning in meanings if meaning.account is not None}
    if len(accounts) > 1:
        raise Malformed(f"{FIELD}.body.messages", "are of several accounts: each would have to sign")
    return next(iter(accounts), None)


def _effects(
    meanings: Sequence[Meaning], auth_info: Values, account: Account | None, around: Around, chain: _Chain | None
) -> tuple[Effect, ...]:
    """Return the effects of the messages and after them those of the fee; the first one has ``fee_max``."""
    coins = _fee(auth_info)
    effects = [effect for meaning in meanings for effect in meaning.effects]
    own = chain.coin if chain else None
    effects += [cosmos_effects.fee_effect(coin, account, around) for coin in coins if coin[0] != own]
    if len(effects) > limits.EFFECTS_MAX:
        raise Malformed(FIELD, f"has more than {limits.EFFECTS_MAX} effects")
    fee_max = None if coins and own is None else sum(amount for denomination, amount in coins if denomination == own)
    if fee_max != 0:
        effects[0] = replace(effects[0], fee_max=fee_max)
    return tuple(effects)


def _fee(auth_info: Values) -> list[tuple[str, int]]:
    """Return the coins of the fee. Clients write a fee of nothing as no coin, or as 0 of one."""
    where = f"{FIELD}.auth_info.fee"
    fee = message_of(auth_info, "fee", f"{FIELD}.auth_info")
    for name in ("payer", "granter"):
        if name in fee:
            raise Malformed(f"{where}.{name}", "is not supported: the account that acts pays its own fee")
    coins = messages_of(fee, "amount")
    if len(coins) > limits.COSMOS_FEE_COINS_MAX:
        raise Malformed(f"{where}.amount", f"has more than {limits.COSMOS_FEE_COINS_MAX} coins")
    read = []
    for place, coin in enumerate(coins):
        name = f"{where}.amount[{place}]"
        nothing = text_of(coin, "amount") == "0"
        read.append((read_denomination(coin, name), 0) if nothing else read_coin(coin, name))
    check_ascending([denomination for denomination, _ in read], f"{where}.amount")
    return [(denomination, amount) for denomination, amount in read if amount]


def _completeness(meanings: Sequence[Meaning]) -> Completeness:
    if any(meaning.account is None for meaning in meanings):
        return Completeness.OPAQUE
    return Completeness.FULL if all(meaning.full for meaning in meanings) else Completeness.PARTIAL
