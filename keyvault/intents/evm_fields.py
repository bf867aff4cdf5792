"""The named items of an unsigned EVM transaction: each is read strictly, or refused with its name."""

from dataclasses import dataclass
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents import rlp

FIELD: Final = "evm_transaction"
ADDRESS_BYTES: Final = 20
WORD_MAX: Final = 2**256 - 1
NONCE_MAX: Final = 2**64 - 2
"""EIP-2681."""

_GAS_MAX: Final = 2**64 - 1
_WORD_BYTES: Final = 32
_BLOB_GAS: Final = 2**17
"""Blob gas of one blob: EIP-4844, GAS_PER_BLOB."""
_BLOB_VERSION: Final = 0x01
"""EIP-4844, VERSIONED_HASH_VERSION_KZG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Items by the names that the EIPs give them."""

    items: dict[str, rlp.Item]

    def content(self, name: str) -> bytes:
        """Return a string of bytes."""
        item = self.items[name]
        if isinstance(item, bytes):
            return item
        raise Malformed(f"{FIELD}.{name}", "is a list, must be a string of bytes")

    def integer(self, name: str, maximum: int = WORD_MAX) -> int:
        """Return an integer from 0 to ``maximum``."""
        return integer(self.content(name), f"{FIELD}.{name}", maximum)

    def chain_id(self) -> int:
        """Return the chain, which is never 0."""
        chain_id = self.integer("chainId")
        if chain_id == 0:
            raise Malformed(f"{FIELD}.chainId", "is 0: name the one chain on which the transaction shall be valid")
        return chain_id

    def to(self, *, creates: bool) -> str | None:
        """Return the address, None for a new contract where the type of transaction ``creates`` them."""
        item = self.content("to")
        if not item and creates:
            return None
        if len(item) != ADDRESS_BYTES:
            hint = ", or none to create a contract" if creates else ": this type cannot create a contract"
            raise Malformed(f"{FIELD}.to", f"has {len(item)} bytes, must have 20{hint}")
        return "0x" + item.hex()

    def fee_max(self) -> int:
        """Return the highest fee, blobs included; on roll-ups of the OP stack, the highest fee of the execution.

        Optimism, Base and others take a fee for the data of the transaction besides (docs.optimism.io, "Transaction
        fees"): the chain sets it when it includes the transaction, no field bounds it, so the bytes do not say it.
        """
        gas = self.integer("gas", _GAS_MAX)
        fee = gas * (self.integer("gasPrice") if "gasPrice" in self.items else self._dynamic_price())
        if "maxFeePerBlobGas" in self.items:
            fee += self._blobs() * _BLOB_GAS * self.integer("maxFeePerBlobGas")
        if fee > WORD_MAX:
            raise Malformed(f"{FIELD}.gas", "times its highest price does not fit into 256 bits")
        return fee

    def _dynamic_price(self) -> int:
        price = self.integer("maxFeePerGas")
        if self.integer("maxPriorityFeePerGas") > price:
            raise Malformed(f"{FIELD}.maxPriorityFeePerGas", "is higher than maxFeePerGas (EIP-1559)")
        return price

    def _blobs(self) -> int:
        hashes = self.items["blobVersionedHashes"]
        name = f"{FIELD}.blobVersionedHashes"
        if isinstance(hashes, bytes) or not 0 < len(hashes) <= limits.BLOBS_MAX:
            raise Malformed(name, f"must be a list of 1 to {limits.BLOBS_MAX} hashes")
        for each in hashes:
            if not isinstance(each, bytes) or len(each) != _WORD_BYTES or each[0] != _BLOB_VERSION:
                raise Malformed(name, "each must have 32 bytes, the first 0x01 (EIP-4844)")
        return len(hashes)

    def check_access_list(self) -> None:
        """Raise Malformed unless it is a list of [address, [storage key, ...]] (EIP-2930) of bounded size."""
        item = self.items["accessList"]
        if isinstance(item, bytes):
            raise Malformed(f"{FIELD}.accessList", "must be a list")
        count = len(item)
        for entry in item:
            count += _storage_keys(entry)
        if count > limits.ACCESS_LIST_ITEMS_MAX:
            raise Malformed(f"{FIELD}.accessList", f"has more than {limits.ACCESS_LIST_ITEMS_MAX} addresses and keys")


def integer(item: bytes, field: str, maximum: int) -> int:
    """Return the integer that an RLP string is, or raise Malformed for ``field``."""
    if not item:
        return 0
    if item[0] == 0:
        raise Malformed(field, "an integer must not begin with a zero byte")
    value = int.from_bytes(item, "big")
    if value > maximum:
        raise Malformed(field, f"is higher than {maximum:#x}")
    return value


def _storage_keys(entry: rlp.Item) -> int:
    if isinstance(entry, bytes) or len(entry) != 2:  # noqa: PLR2004 - a pair
        raise Malformed(f"{FIELD}.accessList", "each entry must be [address, [storage key, ...]]")
    address, keys = entry
    if not isinstance(address, bytes) or len(address) != ADDRESS_BYTES:
        raise Malformed(f"{FIELD}.accessList", "an address must have 20 bytes")
    if isinstance(keys, bytes) or not all(isinstance(key, bytes) and len(key) == _WORD_BYTES for key in keys):
        raise Malformed(f"{FIELD}.accessList", "storage keys must be a list of 32-byte strings")
    return len(keys)
