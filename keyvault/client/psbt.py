"""A PSBT as requests for signatures, one for each input of ours, and with those signatures in it. Pure."""

from collections.abc import Mapping

from keyvault import intents
from keyvault.client import payloads
from keyvault.client.errors import SignatureMismatch
from keyvault.client.results import Signed, SignedBytes, SignedPsbt, narrowed
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, Signer
from keyvault.intents.bitcoin_combine import combine, finalise, inputs_of


def inputs_to_sign(psbt: bytes, network: str, signer: Signer) -> Mapping[int, Payload]:
    """Return what has to be asked for, by number of the input.

    Raises Malformed if nothing waits for this key, or if one of its inputs may not be signed: then nothing is asked.
    """
    numbers = inputs_of(psbt, signer.public_key)
    if not numbers:
        raise Malformed("bitcoin_psbt", "no input waits for a signature of this key")
    made = {number: payloads.bitcoin_input(psbt, number, network=network) for number in numbers}
    for payload in made.values():
        intents.parse(payload, signer)
    return made


def signed_psbt(
    request_id: str, psbt: bytes, signer: Signer, answers: Mapping[int, Signed | BaseException]
) -> SignedPsbt:
    """Return the PSBT with the verified answers in it; raise the first of them that is an error."""
    signatures: dict[int, SignedBytes] = {}
    for number, answer in answers.items():
        if isinstance(answer, BaseException):
            raise answer
        signatures[number] = narrowed(SignedBytes, answer)
    raw = {number: signature.raw for number, signature in signatures.items()}
    try:
        combined = combine(psbt, raw, signer.public_key)
    except Malformed as error:
        raise SignatureMismatch(f"the signatures do not fit the PSBT: {error}", request_id=request_id) from None
    return SignedPsbt(request_id=request_id, psbt=combined, signatures=signatures, transaction=_transaction(combined))


def _transaction(psbt: bytes) -> bytes:
    """Return what the network takes, or nothing as long as an input is not complete."""
    try:
        return finalise(psbt)
    except Malformed:
        return b""
