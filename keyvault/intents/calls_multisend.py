"""Safe's MultiSend libraries, by their addresses and what each version does.

``multiSend(bytes)`` runs a packed batch as the Safe that delegates to it: operation (1 byte: 0 call, 1 delegatecall),
to (20), value (32), length of data (32), data. The source is ``contracts/libraries`` of safe-global/safe-smart-account
at the tag of each version; the addresses are those of safe-global/safe-deployments ("canonical" and "eip155").

- MultiSend 1.1.1, 1.3.0, 1.4.1: calls and delegatecalls.
- MultiSendCallOnly 1.3.0, 1.4.1: calls; a delegatecall reverts the batch.
- Both of 1.5.0: as before, and ``to`` zero means the Safe itself.

Not known, and so a delegatecall to foreign code: MultiSend 1.0.0, which has no canonical address and lets anybody
destroy it; the deployments on zkSync, which are other code.
"""

from dataclasses import dataclass
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.intents import abi
from keyvault.intents.call import ZERO_ADDRESS, Call

_MULTI_SEND: Final = abi.function("multiSend(bytes)")
_CALL: Final = 0
_DELEGATECALL: Final = 1
_HEAD_BYTES: Final = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call of a batch."""

    operation: int
    to: str
    value: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiSend:
    """One deployed library.

    ``chains``: the only ones where it is; None: wherever there is code at its address, which is derived from that code
    (CREATE2).
    """

    version: str
    call_only: bool = False
    zero_is_self: bool = False
    chains: frozenset[int] | None = None

    def entries(self, data: bytes, safe: str) -> tuple[Entry, ...]:
        """Return the batch that ``safe`` runs with this calldata, or raise Malformed for what would revert."""
        (packed,) = _MULTI_SEND.decode(data)
        entries, at = [], 0
        while at < len(packed):
            entry, at = _entry(packed, at)
            if entry.operation > (_CALL if self.call_only else _DELEGATECALL):
                raise Malformed(abi.FIELD, f"MultiSend {self.version} knows no operation {entry.operation}")
            if self.zero_is_self and entry.to == ZERO_ADDRESS:
                entry = Entry(operation=entry.operation, to=safe, value=entry.value, data=entry.data)
            entries.append(entry)
        return tuple(entries)


def known(call: Call) -> MultiSend | None:
    """Return the library that a delegatecall of ``multiSend`` runs, None for all other code and functions."""
    multisend = _DEPLOYED.get(call.to)
    if multisend is None or call.data[: abi.SELECTOR_BYTES] != _MULTI_SEND.selector:
        return None
    if multisend.chains is not None and call.chain_id is not None and call.chain_id not in multisend.chains:
        return None
    return multisend


def _entry(packed: bytes, at: int) -> tuple[Entry, int]:
    start = at + _HEAD_BYTES
    length = int.from_bytes(packed[start - 32 : start], "big")
    end = start + length
    if end > len(packed):
        raise Malformed(abi.FIELD, f"the entry at byte {at} of the batch is cut off")
    entry = Entry(
        operation=packed[at],
        to="0x" + packed[at + 1 : at + 21].hex(),
        value=int.from_bytes(packed[at + 21 : at + 53], "big"),
        data=packed[start:end],
    )
    return entry, end


_BOTH_1_3_0: Final = MultiSend(version="1.3.0")
_CALL_ONLY_1_3_0: Final = MultiSend(version="1.3.0", call_only=True)

_DEPLOYED: Final = {
    # Deployed by an account, not by CREATE2: what that account puts at the same address of other chains is unknown.
    "0x8d29be29923b68abfdd21e541b9374737b49cdad": MultiSend(
        version="1.1.1", chains=frozenset({1, 4, 5, 42, 88, 100, 246, 369, 73_799})
    ),
    "0xa238cbeb142c10ef7ad8442c6d1f9e89e07e7761": _BOTH_1_3_0,
    "0x998739bfdaadde7c933b942a68053933098f9eda": _BOTH_1_3_0,
    "0x40a2accbd92bca938b02010e17a5b8929b49130d": _CALL_ONLY_1_3_0,
    "0xa1dabef33b3b82c7814b6d82a79e50f4ac44102b": _CALL_ONLY_1_3_0,
    "0x38869bf66a61cf6bdb996a6ae40d5853fd43b526": MultiSend(version="1.4.1"),
    "0x9641d764fc13c8b624c04430c7356c1c7c8102e2": MultiSend(version="1.4.1", call_only=True),
    "0x218543288004cd07832472d464648173c77d7eb7": MultiSend(version="1.5.0", zero_is_self=True),
    "0xa83c336b20401af773b6219ba5027174338d1836": MultiSend(version="1.5.0", call_only=True, zero_is_self=True),
}
