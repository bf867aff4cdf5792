"""What an ECDSA signature of an input covers, for SIGHASH_ALL: every input, every output, the lock time.

P2PKH: the transaction with the script code in the place of the signed input's scriptSig, without amounts (the original
algorithm, as in Bitcoin Core's ``SignatureHash``). Witness version 0: BIP-143, with the amount of that input only.
"""

from keyvault.intents.bitcoin_wire import Transaction, compact, double_sha256, encode

SIGHASH_ALL = 1
_ALL = SIGHASH_ALL.to_bytes(4, "little")


def legacy_digest(transaction: Transaction, index: int, script_code: bytes) -> bytes:
    """Return the digest to sign for an input without segwit."""
    scripts = [b""] * len(transaction.outpoints)
    scripts[index] = script_code
    return double_sha256(encode(transaction, tuple(scripts)) + _ALL)


def segwit_digest(transaction: Transaction, index: int, script_code: bytes, amount: int) -> bytes:
    """Return the digest to sign for an input of witness version 0 that spends ``amount``."""
    return double_sha256(
        b"".join(
            (
                transaction.version.to_bytes(4, "little"),
                double_sha256(b"".join(transaction.outpoints)),
                double_sha256(b"".join(transaction.sequences)),
                transaction.outpoints[index],
                compact(len(script_code)),
                script_code,
                amount.to_bytes(8, "little"),
                transaction.sequences[index],
                double_sha256(transaction.serialised_outputs),
                transaction.locktime.to_bytes(4, "little"),
                _ALL,
            )
        )
    )
