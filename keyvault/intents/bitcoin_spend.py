"""What the inputs of a PSBT spend, proven, and how the one that is to be signed is spent.

For every input, whoever owns it:

- ``non_witness_utxo`` is there, segwit or not. Its txid is that of the outpoint, so its amounts and scripts are those
  of the chain. Without it, amounts of segwit inputs are claims: two signatures for two lies burn coins as a fee
  (CVE-2020-14199).
- ``witness_utxo``, where it also stands, says the same amount and script, and is refused for an output without segwit.
- redeem and witness scripts hash to what the output says, and do not stand where it has no room for them.

For the input that is to be signed: only key types that such an input needs; SIGHASH_ALL; no final script; and our key
is in the script that is spent: P2PKH, P2WPKH, P2WSH with ``<key> OP_CHECKSIG`` or m-of-n, and the latter two in P2SH.
BIP-32 fields are claims of the caller and prove nothing. Refused by name: taproot (PKCS#11 has no Schnorr signatures),
uncompressed keys, P2SH without segwit, bare scripts.
"""

from dataclasses import dataclass

from keyvault.core.errors import Malformed
from keyvault.intents import bitcoin_scripts as scripts
from keyvault.intents import psbt_keys as keys
from keyvault.intents.bitcoin_scripts import OwnKey
from keyvault.intents.bitcoin_sighash import SIGHASH_ALL, legacy_digest, segwit_digest
from keyvault.intents.bitcoin_wire import TXID_BYTES, TransactionOutput, read_output, read_spent
from keyvault.intents.psbt import FIELD, Entries, Psbt, unknown

_SIGHASH_ALL = SIGHASH_ALL.to_bytes(4, "little")
_FINAL = (keys.FINAL_SCRIPT_SIG[0], keys.FINAL_SCRIPT_WITNESS[0])
_FIRST_TAPROOT = 0x13
_LAST_TAPROOT = 0x1C
"""BIP-371, and MuSig2 (BIP-373)."""


@dataclass(frozen=True, slots=True)
class Spend:
    """How an input is spent: ``script_code`` and ``segwit`` say what is signed.

    ``shared``: other keys can or must sign, too. ``change``: the scripts under exactly the same control.
    """

    script_code: bytes
    segwit: bool
    shared: bool
    change: frozenset[bytes]


def spent_outputs(psbt: Psbt) -> tuple[TransactionOutput, ...]:
    """Return what each input spends, proven by the transaction that made it."""
    outpoints = psbt.transaction.outpoints
    return tuple([_spent(entries, outpoints[index], index) for index, entries in enumerate(psbt.inputs)])


def spend_of(psbt: Psbt, index: int, spent: TransactionOutput, own: OwnKey) -> Spend:
    """Return how ``own`` spends input ``index``, or raise Malformed if it may not or cannot."""
    entries = psbt.inputs[index]
    field = f"{FIELD}.inputs[{index}]"
    script = spent.script
    _check_signable(entries, script, own, field)
    if script == own.p2pkh:
        return Spend(script, segwit=False, shared=False, change=own.scripts)
    program = entries.get(keys.REDEEM_SCRIPT, b"") if scripts.is_p2sh(script) else script
    if program == own.p2wpkh:
        return Spend(own.p2pkh, segwit=True, shared=False, change=own.scripts)
    if scripts.is_p2wsh(program):
        return _witness_script(entries, script, own, field)
    if scripts.is_p2pkh(script) and script == scripts.p2pkh(scripts.hash160(own.uncompressed)):
        raise Malformed(field, "pays to the uncompressed form of our key: only its compressed form is signed for")
    if scripts.is_p2pkh(script) or scripts.is_p2wpkh(program):
        raise Malformed(field, "is not ours: it pays to another key than the one that is to sign")
    if scripts.is_p2sh(script) and not program:
        raise Malformed(f"{field}.redeem_script", "is missing: the output that is spent pays to one")
    if scripts.is_p2sh(script):
        raise Malformed(field, "is P2SH of something else than P2WPKH or P2WSH: only these are signed inside P2SH")
    raise Malformed(field, "has a script that is not signed here: only P2PKH, P2WPKH, P2WSH, and these two in P2SH")


def digest_of(psbt: Psbt, index: int, spent: TransactionOutput, spend: Spend) -> bytes:
    """Return the 32 bytes that a signature of input ``index`` signs."""
    if spend.segwit:
        return segwit_digest(psbt.transaction, index, spend.script_code, spent.amount)
    return legacy_digest(psbt.transaction, index, spend.script_code)


def _spent(entries: Entries, outpoint: bytes, index: int) -> TransactionOutput:
    """Return the output that an input spends, after every check that does not depend on whose it is."""
    field = f"{FIELD}.inputs[{index}]"
    data = entries.get(keys.NON_WITNESS_UTXO)
    if data is None:
        problem = "is missing: the amount of an input is proven by the whole transaction that it spends, segwit or not"
        raise Malformed(f"{field}.non_witness_utxo", problem)
    number = int.from_bytes(outpoint[TXID_BYTES:], "little")
    txid, spent = read_spent(data, number, f"{field}.non_witness_utxo")
    if txid != outpoint[:TXID_BYTES]:
        raise Malformed(f"{field}.non_witness_utxo", "is not the transaction that the input spends")
    redeem, witness = entries.get(keys.REDEEM_SCRIPT), entries.get(keys.WITNESS_SCRIPT)
    claimed = entries.get(keys.WITNESS_UTXO)
    if claimed is not None:
        _check_claim(claimed, spent, redeem, f"{field}.witness_utxo")
    if redeem is not None and (not scripts.is_p2sh(spent.script) or spent.script != scripts.p2sh(redeem)):
        raise Malformed(f"{field}.redeem_script", "is not what the output that is spent pays to")
    program = spent.script if redeem is None else redeem
    if witness is not None and (not scripts.is_p2wsh(program) or program != scripts.p2wsh(witness)):
        raise Malformed(f"{field}.witness_script", "is not what the output that is spent pays to")
    return spent


def _check_claim(claimed: bytes, spent: TransactionOutput, redeem: bytes | None, field: str) -> None:
    if read_output(claimed, field) != spent:
        raise Malformed(field, "says another amount or script than the transaction that is spent")
    program = redeem if redeem is not None else spent.script
    inside = redeem is None and scripts.is_p2sh(program)  # nobody said what is in it: it may be segwit
    if not inside and not scripts.is_witness_program(program):
        raise Malformed(field, "stands in an input without segwit: such a signature does not cover the amount")


def _check_signable(entries: Entries, script: bytes, own: OwnKey, field: str) -> None:
    if scripts.is_p2tr(script):
        raise Malformed(field, "is P2TR: a token has no Schnorr signatures (BIP-340), so taproot is not signed")
    for key in entries:
        if key[0] not in keys.SIGNABLE:
            raise _foreign(key, field)
        if key[1:] == own.uncompressed:
            raise Malformed(field, "names the uncompressed form of our key: only its compressed form is signed for")
    if entries.get(keys.SIGHASH_TYPE, _SIGHASH_ALL) != _SIGHASH_ALL:
        problem = "is not SIGHASH_ALL (1): every other type leaves inputs or outputs to whoever has the signature"
        raise Malformed(f"{field}.sighash_type", problem)


def _foreign(key: bytes, field: str) -> Malformed:
    """Return the error for a key that an input which is to be signed must not have."""
    if key[0] in _FINAL:
        return Malformed(field, "is finalised already: there is nothing left to sign")
    if _FIRST_TAPROOT <= key[0] <= _LAST_TAPROOT:
        return Malformed(field, "has taproot fields: a token has no Schnorr signatures (BIP-340)")
    if key[0] in keys.INPUT:
        return Malformed(f"{field}.{keys.INPUT[key[0]].name}", "is not needed by any script that is signed here")
    return Malformed(field, f"has a key of {unknown(key)}: nobody here can say what it means for the signature")


def _witness_script(entries: Entries, script: bytes, own: OwnKey, field: str) -> Spend:
    """Return how a P2WSH output, bare or in P2SH, is spent."""
    witness = entries.get(keys.WITNESS_SCRIPT)
    if witness is None:
        raise Malformed(f"{field}.witness_script", "is missing: the output that is spent pays to one")
    if scripts.single_key(witness) == own.compressed:
        return Spend(witness, segwit=True, shared=False, change=own.scripts | {script})
    members = scripts.multisig_keys(witness)
    if own.compressed in members:
        return Spend(witness, segwit=True, shared=True, change=frozenset((script,)))
    if members or scripts.single_key(witness):
        raise Malformed(field, "is not ours: its witness script does not name the key that is to sign")
    raise Malformed(f"{field}.witness_script", "is neither <key> CHECKSIG nor m-of-n with compressed, different keys")
