"""What a Solana message can cost: signatures, and the price of the compute units that it may use.

Source: Solana documentation, "Fees"; Agave, ``compute-budget-instruction`` and ``fee``. The base fee is 5,000 lamports
for each signature of the transaction and each one that a precompiled program is asked to verify (the first byte of
its data). The priority fee is units x price, in millionths of a lamport, rounded up. Units that no instruction limits
are taken as high as any version of the chain has set them.

The chain would ignore bytes behind an instruction of the budget, and accounts: both are refused, so that no price can
be set unseen.
"""

from typing import Final

from keyvault.core.errors import Malformed
from keyvault.intents.solana_address import COMPUTE_BUDGET, ED25519_PROGRAM, SECP256K1_PROGRAM, SECP256R1_PROGRAM
from keyvault.intents.solana_message import FIELD, Instruction, Message

_SIGNATURE_LAMPORTS: Final = 5_000
_PRECOMPILED: Final = frozenset({ED25519_PROGRAM, SECP256K1_PROGRAM, SECP256R1_PROGRAM})
_UNITS_MAX: Final = 1_400_000
_UNITS_DEFAULT: Final = 200_000
_UNITS_BUDGET_DEFAULT: Final = 3_000
"""Of an instruction of the budget itself, since SIMD-0170."""
_MICRO: Final = 1_000_000

_HEAP_FRAME: Final = 1
_UNIT_LIMIT: Final = 2
_UNIT_PRICE: Final = 3
_LOADED_BYTES: Final = 4
_SIZES: Final = {_HEAP_FRAME: 5, _UNIT_LIMIT: 5, _UNIT_PRICE: 9, _LOADED_BYTES: 5}


def fee_max(message: Message) -> int:
    """Return the highest fee in lamports, or raise Malformed for a budget that the chain would refuse or half read."""
    values: dict[int, int] = {}
    signatures, budgets = message.header[0], 0
    for number, instruction in enumerate(message.instructions):
        program = message.keys[instruction.program]
        if program == COMPUTE_BUDGET:
            budgets += 1
            kind, value = _read(instruction, number)
            if kind in values:
                raise Malformed(f"{FIELD}.instructions[{number}]", "sets a part of the compute budget again")
            values[kind] = value
        elif program in _PRECOMPILED and instruction.data:
            signatures += instruction.data[0]
    default = (len(message.instructions) - budgets) * _UNITS_DEFAULT + budgets * _UNITS_BUDGET_DEFAULT
    units = min(values.get(_UNIT_LIMIT, default), _UNITS_MAX)
    return signatures * _SIGNATURE_LAMPORTS + -(-units * values.get(_UNIT_PRICE, 0) // _MICRO)


def _read(instruction: Instruction, number: int) -> tuple[int, int]:
    data = instruction.data
    if not data or _SIZES.get(data[0]) != len(data):
        raise Malformed(f"{FIELD}.instructions[{number}]", "is no instruction of the compute budget, to the byte")
    if instruction.accounts:
        raise Malformed(f"{FIELD}.instructions[{number}]", "has accounts: the compute budget takes none")
    return data[0], int.from_bytes(data[1:], "little")
