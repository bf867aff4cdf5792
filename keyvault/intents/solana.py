"""Solana messages, legacy and version 0: what an Ed25519 signature over them makes possible.

The message itself is signed (Solana documentation, "Transactions"). Every instruction but those of the compute budget
is one effect, in order; one that is not exactly known is OPAQUE, with the program as ``contract`` and the first eight
bytes of its data as ``selector``. An instruction that touches an account from a look-up table is OPAQUE, too, ``via``
"lookup table {address}[{index}]": what lies there, only the chain knows. A message of nothing but a compute budget is
one SETUP. A memo is a MESSAGE.

How long a signature lives: a message names a recent blockhash and dies 150 blocks after it, normally within 90 s. But
these bytes do not say when that was, and a chain that stands still does not count; so ``expires_at`` is None, and it is
Bound.EXPIRY that says so. If instruction 0 advances a nonce, that value can stand in the blockhash's place and the
signature never ends by itself: EXPIRY is not among ``binds``. It is decided as loosely as the chain does, so that no
strange form of the instruction hides it.

There is no slot. Two messages with one blockhash both take effect; and with a durable nonce both can, too: the chain
first looks whether the blockhash is a recent one, and with a recent one the instruction is an ordinary one that
succeeds in each later block. The bytes do not say which of both they carry.

The cluster is bound by the blockhash, but not named: a message for a test cluster reads the same.

``fee_max`` is what the message can cost us: its fees if we pay them, and the rent of accounts of other wallets that we
fund, whoever pays the fees.

What policy must know: nothing here says who owns a token account, save where ``via`` does. A mint of Token-2022 may
take a fee from a transfer, call a program, or let somebody else take tokens back; that is a property of ``asset``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import (
    solana_associated,
    solana_budget,
    solana_message,
    solana_system,
    solana_token,
)
from keyvault.intents.solana_address import (
    ASSOCIATED_TOKEN,
    COMPUTE_BUDGET,
    MEMO,
    MEMO_1,
    NETWORK,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    address,
)
from keyvault.intents.solana_call import Call, effect, opaque
from keyvault.intents.solana_message import SIGNATURE_BYTES, SIGNER, Message

FIELD: Final = solana_message.FIELD

_ALGORITHMS = frozenset({KeyAlgorithm.ED25519})
_BINDS = frozenset({Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE})
_BINDS_EXPIRY = _BINDS | {Bound.EXPIRY}
_KEEPS_OWNERS = frozenset({Operation.TRANSFER, Operation.SETUP, Operation.MESSAGE, Operation.ALLOWANCE})
"""Operations after which a token account surely has the owner that it had before."""


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return what signing the message means for ``signer``, or raise Malformed."""
    data = payload.parts[0]
    message = solana_message.decode(data)
    _signer_index(message, signer)
    fee_max = solana_budget.fee_max(message)
    effects = _effects(message, signer.public_key, fee_max if message.keys[0] == signer.public_key else 0)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=data,
        effects=effects,
        completeness=_completeness(effects),
        binds=_BINDS if _may_be_durable(message) else _BINDS_EXPIRY,
        decoder_version=2,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the transaction with our signature in its place, and zeros in those of others.

    ``transaction_hash`` is the first signature, by which Solana names a transaction, if that is ours.
    """
    if len(signature.value) != SIGNATURE_BYTES:
        raise Broken(f"an Ed25519 signature must have {SIGNATURE_BYTES} bytes")
    data = payload.parts[0]
    message = solana_message.decode(data)
    index = _signer_index(message, signer)
    count = len(message.signers)
    before, after = bytes(SIGNATURE_BYTES * index), bytes(SIGNATURE_BYTES * (count - index - 1))
    raw = solana_message.length(count) + before + signature.value + after + data
    return Output(raw=raw, transaction_hash=b"" if index else signature.value)


def _signer_index(message: Message, signer: Signer) -> int:
    try:
        return message.signers.index(signer.public_key)
    except ValueError:
        raise Malformed(f"{FIELD}.accounts", "does not ask for the signature of this key") from None


def _may_be_durable(message: Message) -> bool:
    """Return whether the chain may take the blockhash for a nonce: it looks at program and first four bytes only."""
    first = message.instructions[0]
    return message.keys[first.program] == SYSTEM and first.data.startswith(solana_system.ADVANCE_NONCE)


def _completeness(effects: tuple[Effect, ...]) -> Completeness:
    operations = [one.operation for one in effects]
    unknown = operations.count(Operation.OPAQUE)
    if unknown == len(effects):
        return Completeness.OPAQUE
    if unknown or any(one.amount is None for one in effects if one.operation is Operation.TRANSFER):
        return Completeness.PARTIAL
    return Completeness.FULL


def _effects(message: Message, us: bytes, fee_max: int) -> tuple[Effect, ...]:
    """Return one effect for each instruction that does something; the fee stands on the first, with all rent."""
    effects: list[Effect] = []
    rent = 0
    owners: dict[tuple[bytes, bytes, bytes], str] = {}
    keys, privileges = message.keys, message.privileges
    for number, (index, indices, data) in enumerate(message.instructions):
        program = keys[index]
        if program == COMPUTE_BUDGET:
            continue
        fee = 0 if effects else fee_max
        if message.lookups and indices and max(indices) >= len(keys):
            done = opaque(Call(program, data, (), b"", us, number == 0, fee, owners), _touched(message, indices))
            owners.clear()
        else:
            accounts = tuple([keys[i] for i in indices])
            granted = bytes([privileges[i] for i in indices])
            call = Call(program, data, accounts, granted, us, number == 0, fee, owners)
            done = _DECODERS.get(program, _unknown)(call) or opaque(call)
            _follow(call, done, owners)
            if program == ASSOCIATED_TOKEN and done.operation is Operation.SETUP:
                rent += solana_associated.rent_max(call)
        effects.append(done)
    if not effects:
        contract = address(COMPUTE_BUDGET)
        effects.append(Effect(operation=Operation.SETUP, network=NETWORK, fee_max=fee_max, contract=contract))
    if rent:
        effects[0] = replace(effects[0], fee_max=(effects[0].fee_max or 0) + rent)
    return tuple(effects)


def _touched(message: Message, indices: bytes) -> str:
    """Return ``lookup table {address}[{index},...]`` for each table of which an instruction takes something."""
    tables: dict[bytes, list[int]] = {}
    for index in dict.fromkeys(indices):
        if index >= len(message.keys):
            table, position = message.looked_up(index)
            tables.setdefault(table, []).append(position)
    return ", ".join(
        f"lookup table {address(table)}[{','.join(map(str, positions))}]" for table, positions in tables.items()
    )


def _follow(call: Call, done: Effect, owners: dict[tuple[bytes, bytes, bytes], str]) -> None:
    """Remember whose account a call proves, and forget all once a call may have given one away."""
    if done.operation not in _KEEPS_OWNERS:
        owners.clear()
    elif call.program == ASSOCIATED_TOKEN:
        proven = solana_associated.created(call)
        if proven is not None:
            owners[proven[0]] = proven[1]


def _memo(call: Call) -> Effect | None:
    """Return the MESSAGE of a memo: text, and nobody but signers beside it (crate ``spl-memo-interface``)."""
    if not all(privilege & SIGNER for privilege in call.privileges):
        return None
    try:
        call.data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return effect(call, Operation.MESSAGE)


def _unknown(_call: Call) -> None:
    return None


_DECODERS: Final[Mapping[bytes, Callable[[Call], Effect | None]]] = {
    SYSTEM: solana_system.decode,
    TOKEN: solana_token.decode,
    TOKEN_2022: solana_token.decode,
    ASSOCIATED_TOKEN: solana_associated.decode,
    MEMO: _memo,
    MEMO_1: _memo,
}
