"""Unsigned EVM transactions of all types.

legacy    rlp([nonce, gasPrice, gas, to, value, data, chainId, 0, 0]) (EIP-155)
EIP-2930  0x01 || rlp([chainId, nonce, gasPrice, gas, to, value, data, accessList])
EIP-1559  0x02 || rlp([chainId, nonce, maxPriorityFeePerGas, maxFeePerGas, gas, to, value, data, accessList])
EIP-4844  0x03 || rlp([... as EIP-1559, maxFeePerBlobGas, blobVersionedHashes])
EIP-7702  0x04 || rlp([... as EIP-1559, authorizationList])

The bytes are decoded, the facts are read, the items are encoded again, and only if that gives the same bytes is
their Keccak-256 the digest to sign. Refused by name: transactions without chain id (replayable on every chain), every
other envelope type, and transactions that carry a signature already.

The effects are those of the call (``calls``), then one DELEGATE for each authorization of a type 4. A new contract is
CREATE; coin sent to it is a TRANSFER to its address, which follows from account and nonce. The highest fee stands on
the first effect. Account and nonce are the slot: of all transactions signed for it, a chain takes one. A transaction
never expires.
"""

from dataclasses import dataclass, replace
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import Signature
from keyvault.intents import rlp
from keyvault.intents.account import EVM_ALGORITHMS, account_of
from keyvault.intents.call import Call, Effects, completeness_of, gather
from keyvault.intents.calls import read
from keyvault.intents.evm_authorization import delegations
from keyvault.intents.evm_fields import FIELD as FIELD
from keyvault.intents.evm_fields import NONCE_MAX, Fields
from keyvault.intents.keccak import keccak256
from keyvault.intents.signature import r_s_parity

_LIST_MIN: Final = 0xC0
_LEGACY_WITHOUT_CHAIN: Final = 6
_SIGNATURE_ITEMS: Final = 3
_BINDS: Final = frozenset({Bound.CHAIN, Bound.NONCE, Bound.ACCOUNT})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """One type of transaction: its first byte (none for legacy) and the names of its items."""

    prefix: bytes
    title: str
    names: tuple[str, ...]
    creates: bool = True


_CALL: Final = ("gas", "to", "value", "data")
_DYNAMIC: Final = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", *_CALL, "accessList")
_LEGACY: Final = _Envelope(
    prefix=b"", title="a legacy", names=("nonce", "gasPrice", *_CALL, "chainId", "zero1", "zero2")
)
_TYPED: Final = {
    0x01: _Envelope(prefix=b"\x01", title="an EIP-2930", names=("chainId", "nonce", "gasPrice", *_CALL, "accessList")),
    0x02: _Envelope(prefix=b"\x02", title="an EIP-1559", names=_DYNAMIC),
    0x03: _Envelope(
        prefix=b"\x03",
        title="an EIP-4844",
        names=(*_DYNAMIC, "maxFeePerBlobGas", "blobVersionedHashes"),
        creates=False,
    ),
    0x04: _Envelope(prefix=b"\x04", title="an EIP-7702", names=(*_DYNAMIC, "authorizationList"), creates=False),
}
_OTHER_STARTS: Final = {
    0x05: "0x05 starts an EIP-7702 authorization, which hands the account to code: it is not a transaction",
    0x19: "0x19 starts an EIP-191 message: it is not a transaction; send typed data as typed_data",
    0x30: "starts with the text '0': send the bytes of the transaction, not their hex text",
}


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of an unsigned transaction, or raise Malformed."""
    data = payload.parts[0]
    envelope, items = _decode(data)
    fields = _fields(envelope, items)
    account = account_of(signer)
    chain, nonce = fields.chain_id(), fields.integer("nonce", NONCE_MAX)
    effects = _effects(envelope, fields, account, chain, nonce)
    if envelope.prefix + rlp.encode(items) != data:
        raise Malformed(FIELD, "is not the canonical encoding of what it says")
    return Intent(
        kind=payload.kind,
        algorithms=EVM_ALGORITHMS,
        signing_input=keccak256(data),
        effects=effects,
        completeness=completeness_of(effects),
        binds=_BINDS,
        slot=None if account is None else f"eip155:{chain}:{account}:{nonce}",
        decoder_version=3,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 - as all formats
    """Return the signed transaction, ready for ``eth_sendRawTransaction``, and its hash."""
    envelope, items = _decode(payload.parts[0])
    r, s, parity = r_s_parity(signature)
    signed: tuple[rlp.Item, ...]
    if envelope is _LEGACY:
        # EIP-155. A chain id may have 256 bits, so v may have more.
        v = 35 + 2 * _fields(envelope, items).chain_id() + parity
        signed = (*items[:_LEGACY_WITHOUT_CHAIN], rlp.integer(v), rlp.integer(r), rlp.integer(s))
    else:
        signed = (*items, rlp.integer(parity), rlp.integer(r), rlp.integer(s))
    raw = envelope.prefix + rlp.encode(signed)
    return Output(raw=raw, transaction_hash=keccak256(raw))


def _decode(data: bytes) -> tuple[_Envelope, tuple[rlp.Item, ...]]:
    """Return type and items, or raise Malformed for every other type."""
    if not data:
        raise Malformed(FIELD, "is empty")
    if data[0] >= _LIST_MIN:
        return _LEGACY, rlp.decode_list(data, FIELD)
    if data[0] in _TYPED:
        return _TYPED[data[0]], rlp.decode_list(data[1:], FIELD)
    unknown = f"0x{data[0]:02x} starts no known transaction: send EIP-1559 (0x02) or legacy (an RLP list)"
    raise Malformed(FIELD, _OTHER_STARTS.get(data[0], unknown))


def _fields(envelope: _Envelope, items: tuple[rlp.Item, ...]) -> Fields:
    """Return the items by name; raise Malformed unless they are those of an unsigned transaction for one chain."""
    names = envelope.names
    if envelope is _LEGACY:
        if len(items) == _LEGACY_WITHOUT_CHAIN:
            raise Malformed(FIELD, "has no chain id (EIP-155): its signature would be valid on every chain")
        if len(items) == len(names) and (items[-2] or items[-1]):
            raise Malformed(FIELD, "is signed already: send it with 0 in place of r and s, and chainId in that of v")
    elif len(items) == len(names) + _SIGNATURE_ITEMS:
        raise Malformed(FIELD, "is signed already: send it without yParity, r and s")
    if len(items) != len(names):
        raise Malformed(FIELD, f"{envelope.title} transaction has {len(names)} items, this list has {len(items)}")
    if envelope is _LEGACY and items[-2:] != (b"", b""):
        raise Malformed(FIELD, "has a list in the place of r or s")
    return Fields(items=dict(zip(names, items, strict=True)))


def _effects(envelope: _Envelope, fields: Fields, account: str | None, chain: int, nonce: int) -> Effects:
    """Return all effects; nothing is known of a transaction that no account sends, as its key cannot sign it."""
    fee_max = fields.fee_max()
    to, value, data = fields.to(creates=envelope.creates), fields.integer("value"), fields.content("data")
    if "accessList" in fields.items:
        fields.check_access_list()
    delegated: Effects = ()
    if "authorizationList" in fields.items:
        delegated = delegations(fields.items["authorizationList"], f"{FIELD}.authorizationList")
    if account is None:
        return (Effect(operation=Operation.OPAQUE, chain_id=chain, fee_max=fee_max),)
    if to is None:
        return _created(chain, account, nonce, value, fee_max)
    call = Call(
        chain_id=chain,
        source=account,
        to=to,
        value=value,
        data=data,
        via=None,
        depth=0,
        read=read,
        fee_max=fee_max,
    )
    first, *others = gather((read(call), delegated))
    return (_with_fee(first, fee_max), *(_with_fee(effect, 0) for effect in others))


def _with_fee(effect: Effect, fee_max: int) -> Effect:
    # Copying an effect takes longer than making one, and most have their fee already.
    return effect if effect.fee_max == fee_max else replace(effect, fee_max=fee_max)


def _created(chain: int, account: str, nonce: int, value: int, fee_max: int) -> Effects:
    """Return the effects of a new contract; its address is a hash of account and nonce (Yellow Paper, equation 86)."""
    create = Effect(operation=Operation.CREATE, chain_id=chain, source=account, fee_max=fee_max)
    if not value:
        return (create,)
    address = keccak256(rlp.encode((bytes.fromhex(account[2:]), rlp.integer(nonce))))[12:]
    coin = Effect(
        operation=Operation.TRANSFER,
        chain_id=chain,
        destination="0x" + address.hex(),
        amount=value,
        fee_max=0,
        source=account,
    )
    return (create, coin)
