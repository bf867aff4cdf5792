"""Partially signed Bitcoin transactions: one request signs one input.

Parts: the PSBT; the number of the input as decimal text; the network, ``mainnet``, ``testnet`` or ``regtest``. What is
signed is the SIGHASH_ALL digest of that input. ``psbt`` reads, ``bitcoin_spend`` says which inputs may be signed.

Effects: one for each output that is not change, in their order, messages last.

- An output with an address: TRANSFER. OP_RETURN without coins: MESSAGE. Any other script: OPAQUE, with its amount.
- Change is what is proven to stay under the same control: outputs to P2PKH, P2WPKH or P2SH-P2WPKH of the signing key;
  for a P2WSH input also, and for a multisig input only, the very script that is spent. An output to our single key is
  no change for a multisig input: it would end the say of the others. An output to the multisig is no change for an
  input of our single key, for the same reason.
- BIP-32 paths and extended keys in the PSBT are claims of the caller, and keys in a token have no derivations: change
  to a derived key is a TRANSFER to its address.
- If no coins leave: one TRANSFER of 0 to our own address, which carries the fee.
- The fee is exact: all inputs, which are proven, minus all outputs. Amounts are those of the outputs, whoever pays.

What the bytes do not say: the network. A signature for ``regtest`` is as good on ``mainnet`` if the outpoints exist
there, so CHAIN is not among ``binds``, and a policy that is generous to test networks must not cover keys that hold
coins. Nor is there an expiry: only the spending of an outpoint elsewhere ends a signature. What tokens, inscriptions or
other protocols read into an output or an OP_RETURN is not judged.

The slot is the set of outpoints: transactions with equal sets exclude each other, whichever network was named and
whichever input was signed. Two that share only some outpoints also exclude each other, but have different slots and
count twice: too much, never too little. Requests for several inputs of one PSBT share the slot and may differ in what
is change; the highest counts.
"""

import hashlib
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import bitcoin_scripts as scripts
from keyvault.intents import psbt as psbt_maps
from keyvault.intents import psbt_keys as keys
from keyvault.intents.bitcoin_address import NETWORKS, Network, address
from keyvault.intents.bitcoin_combine import combine as combine
from keyvault.intents.bitcoin_combine import encode_signature
from keyvault.intents.bitcoin_combine import finalise as finalise
from keyvault.intents.bitcoin_spend import Spend, digest_of, spend_of, spent_outputs
from keyvault.intents.bitcoin_wire import MONEY_MAX, Transaction, TransactionOutput
from keyvault.intents.signature import r_s_parity

FIELD: Final = psbt_maps.FIELD

_ALGORITHMS = frozenset({KeyAlgorithm.SECP256K1})
_BINDS = frozenset({Bound.BODY, Bound.ACCOUNT, Bound.NONCE})
_PARTS = 3
_INDEX_DIGITS_MAX = 3


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of signing one input, or raise Malformed."""
    if len(payload.parts) != _PARTS:
        raise Malformed(FIELD, "has three parts: the PSBT, the number of the input, the network")
    data, index_text, network_word = payload.parts
    network = NETWORKS.get(network_word)
    if network is None:
        raise Malformed(f"{FIELD}.network", "must be mainnet, testnet or regtest")
    own = scripts.own_key(signer.public_key)
    psbt = psbt_maps.read(data)
    index = _index(index_text, len(psbt.inputs))
    if keys.PARTIAL_SIG + own.compressed in psbt.inputs[index]:
        raise Malformed(f"{FIELD}.inputs[{index}].partial_sig", "our key has signed this input already")
    spent = spent_outputs(psbt)
    spend = spend_of(psbt, index, spent[index], own)
    effects = _effects(psbt.transaction, spent, index, spend, network)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=digest_of(psbt, index, spent[index], spend),
        effects=effects,
        completeness=_completeness(effects),
        binds=_BINDS,
        not_before=_not_before(psbt.transaction),
        slot="bitcoin:" + hashlib.sha256(b"".join(sorted(psbt.transaction.outpoints))).hexdigest(),
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001  every format has these arguments
    """Return the value of PSBT_IN_PARTIAL_SIG: the signature as DER, and the byte of SIGHASH_ALL."""
    r, s, _ = r_s_parity(signature)
    return Output(raw=encode_signature(r, s))


def _index(text: bytes, count: int) -> int:
    field = f"{FIELD}.input"
    if not text.isdigit() or len(text) > _INDEX_DIGITS_MAX or (text[:1] == b"0" and text != b"0"):
        raise Malformed(field, "must be the number of an input as decimal digits, without leading zeros")
    index = int(text)
    if index >= count:
        raise Malformed(field, f"is {index}, but the PSBT has {count} input(s), counted from 0")
    return index


def _effects(
    transaction: Transaction, spent: tuple[TransactionOutput, ...], index: int, spend: Spend, network: Network
) -> tuple[Effect, ...]:
    """Return what the transaction does; the fee stands on the first effect, which is never a message."""
    fee = _fee(transaction, spent)
    source = address(spent[index].script, network) if spend.shared else None
    paid = [output for output in transaction.outputs if output.script not in spend.change]
    messages = [output for output in paid if _is_message(output)]
    moved = [output for output in paid if not _is_message(output)]
    if not moved:
        own = (output.script for output in transaction.outputs if output.script in spend.change)
        moved.append(TransactionOutput(0, next(own, spent[index].script)))
    if len(moved) + len(messages) > limits.EFFECTS_MAX:
        raise Malformed(FIELD, f"has more than {limits.EFFECTS_MAX} effects: outputs that are not change")
    return (
        _moves(moved[0], network, source, fee),
        *[_moves(output, network, source, 0) for output in moved[1:]],
        *[Effect(operation=Operation.MESSAGE, network=network.name, amount=0, fee_max=0) for _ in messages],
    )


def _fee(transaction: Transaction, spent: tuple[TransactionOutput, ...]) -> int:
    available = sum([output.amount for output in spent])
    fee = available - sum([output.amount for output in transaction.outputs])
    if available > MONEY_MAX or fee < 0:
        raise Malformed(FIELD, "its outputs are more than its inputs, or its inputs more than all coins")
    return fee


def _is_message(output: TransactionOutput) -> bool:
    """Say whether an output only carries data. One with coins destroys them: that is no message."""
    return output.amount == 0 and output.script[:1] == scripts.OP_RETURN


def _moves(output: TransactionOutput, network: Network, source: str | None, fee: int) -> Effect:
    destination = address(output.script, network)
    return Effect(
        operation=Operation.TRANSFER if destination else Operation.OPAQUE,
        network=network.name,
        destination=destination,
        amount=output.amount,
        fee_max=fee,
        source=source,
    )


def _completeness(effects: tuple[Effect, ...]) -> Completeness:
    if any(effect.operation is Operation.OPAQUE for effect in effects):
        return Completeness.OPAQUE
    return Completeness.PARTIAL if effects[-1].operation is Operation.MESSAGE else Completeness.FULL


def _not_before(transaction: Transaction) -> UnixMillis | None:
    """Return when the transaction can be mined at the earliest, None if that is now, or at a height.

    nLockTime counts only if some input is not final (Bitcoin Core, ``IsFinalTx``). The chain's median time must pass
    it, so that the real moment is somewhat later.
    """
    if transaction.locktime < keys.LOCKTIME_THRESHOLD or set(transaction.sequences) == {psbt_maps.FINAL_SEQUENCE}:
        return None
    return UnixMillis(transaction.locktime * 1000)
