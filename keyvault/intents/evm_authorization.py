"""EIP-7702 authorizations: an account hands itself to code.

to sign   0x05 || rlp([chain_id, address, nonce]); its Keccak-256 is the digest
signed    [chain_id, address, nonce, y_parity, r, s], in the authorization list of a transaction of type 4

Either is DELEGATE: the code at ``destination`` acts as the account ``source``, in everything, until another
authorization takes its place; the zero address takes it back. It stays even if the transaction that carries it reverts.
Chain id 0 means all chains, which no chain id can say: ``chain_id`` is None, as what is unknown, and no rule for a
chain holds. An authorization and a transaction with one nonce exclude each other: they share a slot. Not so on all
chains at once.
"""

from typing import Final

from coincurve import PublicKey

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import Signature
from keyvault.intents import rlp
from keyvault.intents.account import EVM_ALGORITHMS, account_of
from keyvault.intents.evm_fields import ADDRESS_BYTES, NONCE_MAX, WORD_MAX, integer
from keyvault.intents.keccak import keccak256
from keyvault.intents.signature import r_s_parity

FIELD: Final = "evm_authorization"

_MAGIC: Final = 0x05
_ITEMS: Final = 3
_SIGNED_ITEMS: Final = 6
_POINT_START: Final = 1
_HALF_ORDER: Final = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
"""Half the order of secp256k1: EIP-7702 takes no s above it (EIP-2)."""


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of an authorization to be signed, or raise Malformed."""
    data = payload.parts[0]
    if not data or data[0] != _MAGIC:
        raise Malformed(FIELD, "must begin with 0x05 (EIP-7702)")
    items = rlp.decode_list(data[1:], FIELD)
    if len(items) != _ITEMS:
        raise Malformed(FIELD, f"has {len(items)} items, must have 3: chain_id, address, nonce")
    chain, address, nonce = _facts(items, FIELD)
    if bytes((_MAGIC,)) + rlp.encode(items) != data:
        raise Malformed(FIELD, "is not the canonical encoding of what it says")
    account = account_of(signer)
    return Intent(
        kind=payload.kind,
        algorithms=EVM_ALGORITHMS,
        signing_input=keccak256(data),
        effects=(_delegation(chain, address, account),),
        completeness=Completeness.PARTIAL,
        binds=frozenset({Bound.NONCE, Bound.ACCOUNT} | ({Bound.CHAIN} if chain else set())),
        slot=f"eip155:{chain}:{account}:{nonce}" if chain and account else None,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 - as all formats
    """Return r || s || y_parity, 65 bytes."""
    _, _, parity = r_s_parity(signature)
    return Output(raw=signature.value + bytes((parity,)))


def delegations(item: rlp.Item, field: str) -> tuple[Effect, ...]:
    """Return one effect for each signed authorization of a list, or raise Malformed for ``field``.

    An authorization that could not be valid is refused, though a chain would pass over it.
    """
    if isinstance(item, bytes) or not 0 < len(item) <= limits.AUTHORIZATIONS_MAX:
        raise Malformed(field, f"must be a list of 1 to {limits.AUTHORIZATIONS_MAX} authorizations (EIP-7702)")
    return tuple(_signed(entry, field) for entry in item)


def _signed(entry: rlp.Item, field: str) -> Effect:
    if isinstance(entry, bytes) or len(entry) != _SIGNED_ITEMS:
        raise Malformed(field, "each must be [chain_id, address, nonce, y_parity, r, s]")
    chain, address, _ = _facts(entry[:_ITEMS], field)
    parity, r, s = (_integer(item, field, most) for item, most in zip(entry[_ITEMS:], _SIGNATURE_MAX, strict=True))
    if not r or not s:
        raise Malformed(field, "r and s must not be 0")
    digest = keccak256(bytes((_MAGIC,)) + rlp.encode(entry[:_ITEMS]))
    return _delegation(chain, address, _recovered(digest, parity, r, s, field))


def _recovered(digest: bytes, parity: int, r: int, s: int, field: str) -> str:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((parity,))
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception:  # noqa: BLE001 - coincurve documents no class; whatever it says, nobody signed
        raise Malformed(field, "holds a signature that no key can have made") from None
    return "0x" + keccak256(key.format(compressed=False)[_POINT_START:])[-ADDRESS_BYTES:].hex()


def _facts(items: tuple[rlp.Item, ...], field: str) -> tuple[int, str, int]:
    """Return chain (0: all), address and nonce."""
    chain, address, nonce = items
    if not isinstance(address, bytes) or len(address) != ADDRESS_BYTES:
        raise Malformed(field, "the address must have 20 bytes")
    return _integer(chain, field, WORD_MAX), "0x" + address.hex(), _integer(nonce, field, NONCE_MAX)


def _integer(item: rlp.Item, field: str, maximum: int) -> int:
    if not isinstance(item, bytes):
        raise Malformed(field, "holds a list where an integer must be")
    return integer(item, field, maximum)


def _delegation(chain: int, address: str, account: str | None) -> Effect:
    return Effect(
        operation=Operation.DELEGATE,
        chain_id=chain or None,
        destination=address,
        source=account,
        fee_max=0,
    )


_SIGNATURE_MAX: Final = (1, WORD_MAX, _HALF_ORDER)
"""y_parity, r, s."""
