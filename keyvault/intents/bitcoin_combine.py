"""From signatures to what the network takes: for the SDK, which asks for one signature per input.

``inputs_of`` says which inputs a key has to sign. ``combine`` puts signatures into a PSBT (the combiner of BIP-174).
``finalise`` makes the network transaction when every input is P2PKH, P2WPKH or P2SH-P2WPKH with its signature, or was
finalised by somebody else; multisig inputs are finalised by a wallet, which knows who else signs. All are pure, and the
latter two verify every signature that they touch.
"""

from collections.abc import Mapping

from coincurve import PublicKey

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.intents import bitcoin_scripts as scripts
from keyvault.intents import psbt as psbt_maps
from keyvault.intents import psbt_keys as keys
from keyvault.intents.bitcoin_sighash import SIGHASH_ALL, legacy_digest, segwit_digest
from keyvault.intents.bitcoin_spend import digest_of, spend_of, spent_outputs
from keyvault.intents.bitcoin_wire import TransactionOutput, compact, encode, prefixed
from keyvault.intents.psbt import FIELD, Entries, Psbt

_HALF_ORDER = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
"""Half of the order of secp256k1: higher values of s are not relayed (BIP-146)."""
_ALL_BYTE = bytes((SIGHASH_ALL,))
_NO_WITNESS = b"\0"


def encode_signature(r: int, s: int) -> bytes:
    """Return DER (BIP-66) and the byte of SIGHASH_ALL, or raise Broken for an s that the network would not take."""
    if s > _HALF_ORDER:
        raise Broken("a signature for Bitcoin must have a low s")
    body = _der_integer(r) + _der_integer(s)
    return b"\x30" + bytes((len(body),)) + body + _ALL_BYTE


def inputs_of(psbt: bytes, public_key: bytes) -> tuple[int, ...]:
    """Return the numbers of the inputs that wait for a signature of ``public_key`` (65 bytes); raise Malformed.

    Those that name the key, also where it may not sign them: whoever asks for their signatures is told why.
    """
    parsed = psbt_maps.read(psbt, limits.PSBT_SIGNED_BYTES_MAX)
    own = scripts.own_key(public_key)
    spent = spent_outputs(parsed)
    return tuple(
        [
            index
            for index, entries in enumerate(parsed.inputs)
            if _names(entries, spent[index].script, own) and not _is_signed(entries, own)
        ]
    )


def _names(entries: Entries, script: bytes, own: scripts.OwnKey) -> bool:
    """Say whether the script that is spent holds the key or its hash."""
    if script == own.p2pkh or entries.get(keys.REDEEM_SCRIPT, script) == own.p2wpkh:
        return True
    return own.compressed in entries.get(keys.WITNESS_SCRIPT, b"")


def _is_signed(entries: Entries, own: scripts.OwnKey) -> bool:
    done = (keys.FINAL_SCRIPT_SIG, keys.FINAL_SCRIPT_WITNESS, keys.PARTIAL_SIG + own.compressed)
    return any(key in entries for key in done)


def combine(psbt: bytes, signatures: Mapping[int, bytes], public_key: bytes) -> bytes:
    """Return ``psbt`` with the signatures of ``public_key`` (65 bytes), which are by number of the input.

    Each is what ``assemble`` returned as ``raw``. All else stays as it is, in its order. Raises Malformed for a
    signature that does not sign that input, and if the PSBT has another signature of that key there.
    """
    parsed = psbt_maps.read(psbt, limits.PSBT_SIGNED_BYTES_MAX)
    own = scripts.own_key(public_key)
    spent = spent_outputs(parsed)
    key = keys.PARTIAL_SIG + own.compressed
    inputs = list(parsed.inputs)
    for index, signature in signatures.items():
        field = f"{FIELD}.inputs[{index}].partial_sig"
        if not 0 <= index < len(inputs):
            raise Malformed(field, "there is no such input")
        digest = digest_of(parsed, index, spent[index], spend_of(parsed, index, spent[index], own))
        _check_signature(own.compressed, signature, digest, field)
        if inputs[index].get(key, signature) != signature:
            raise Malformed(field, "the PSBT has another signature of this key")
        inputs[index] = _with(inputs[index], key, signature)
    return psbt_maps.encode(parsed.top, tuple(inputs), parsed.outputs)


def finalise(psbt: bytes) -> bytes:
    """Return the signed transaction in network serialisation, or raise Malformed if an input is not complete."""
    parsed = psbt_maps.read(psbt, limits.PSBT_SIGNED_BYTES_MAX)
    script_signatures, witnesses = [], []
    for index, spent in enumerate(spent_outputs(parsed)):
        script_signature, witness = _finalised(parsed, index, spent)
        script_signatures.append(script_signature)
        witnesses.append(witness)
    plain = encode(parsed.transaction, tuple(script_signatures))
    if all(witness == _NO_WITNESS for witness in witnesses):
        return plain
    return b"".join((plain[:4], b"\0\x01", plain[4:-4], *witnesses, plain[-4:]))


def _finalised(psbt: Psbt, index: int, spent: TransactionOutput) -> tuple[bytes, bytes]:
    """Return scriptSig and witness of an input."""
    entries = psbt.inputs[index]
    field = f"{FIELD}.inputs[{index}]"
    if keys.FINAL_SCRIPT_SIG in entries or keys.FINAL_SCRIPT_WITNESS in entries:
        return entries.get(keys.FINAL_SCRIPT_SIG, b""), entries.get(keys.FINAL_SCRIPT_WITNESS, _NO_WITNESS)
    if entries.get(keys.SIGHASH_TYPE, bytes((SIGHASH_ALL, 0, 0, 0))) != bytes((SIGHASH_ALL, 0, 0, 0)):
        raise Malformed(f"{field}.sighash_type", "is not SIGHASH_ALL (1)")
    redeem = entries.get(keys.REDEEM_SCRIPT, b"")
    program = redeem or spent.script
    if not scripts.is_p2pkh(spent.script) and not scripts.is_p2wpkh(program):
        raise Malformed(field, "is not P2PKH, P2WPKH or P2SH-P2WPKH: only such inputs are finalised here")
    key, signature = _signature_of(entries, program[3:23] if scripts.is_p2pkh(program) else program[2:], field)
    if scripts.is_p2pkh(spent.script):
        _check_signature(key, signature, legacy_digest(psbt.transaction, index, spent.script), field)
        return _push(signature) + _push(key), _NO_WITNESS
    digest = segwit_digest(psbt.transaction, index, scripts.p2pkh(program[2:]), spent.amount)
    _check_signature(key, signature, digest, field)
    return _push(redeem) if redeem else b"", compact(2) + prefixed(signature) + prefixed(key)


def _signature_of(entries: Entries, key_hash: bytes, field: str) -> tuple[bytes, bytes]:
    """Return the key that hashes to ``key_hash``, and its signature."""
    for key, value in entries.items():
        if key[:1] == keys.PARTIAL_SIG and scripts.hash160(key[1:]) == key_hash:
            return key[1:], value
    raise Malformed(f"{field}.partial_sig", "is missing: the key that is paid has not signed")


def _check_signature(key: bytes, signature: bytes, digest: bytes, field: str) -> None:
    """Raise Malformed unless ``signature`` (DER and SIGHASH_ALL) with a low s is that of ``key`` for ``digest``."""
    try:
        good = signature[-1:] == _ALL_BYTE and PublicKey(key).verify(signature[:-1], digest, hasher=None)
    except ValueError:
        good = False
    if not good:
        raise Malformed(field, "is not a SIGHASH_ALL signature of that key for this input")


def _with(entries: Entries, key: bytes, value: bytes) -> Entries:
    """Return the map with one more key, before the first one that sorts after it."""
    if key in entries:
        return entries
    later = next((place for place, other in enumerate(entries) if other > key), len(entries))
    items = list(entries.items())
    return dict([*items[:later], (key, value), *items[later:]])


def _push(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def _der_integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes((len(content),)) + content
