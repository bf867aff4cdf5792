"""The check that every answer passes before a bot sees it. Pure.

Nothing is taken from the answer that can be made here:

1. it is about this request id and this key;
2. what was signed is what the payload that we sent means, decoded and hashed here;
3. the signature verifies under the expected key, is canonical (low s) and names the right recovery id;
4. the signed transaction, typed-data signature or exchange request is put together here, and theirs must be the same.

HMAC has no public key: of 3 only the length can be checked. 1, 2 and 4 hold.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from keyvault import intents
from keyvault.client.errors import SignatureMismatch
from keyvault.client.names import KeyName
from keyvault.client.results import RESULTS, Signed
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.core.ids import EnclaveName, UnixMillis, parse_request_id
from keyvault.core.intent import UNSTAMPED, Intent, Output, Payload, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.ledger import wire
from keyvault.ledger.errors import Unproven
from keyvault.ledger.signatures import verify_signature
from keyvault.ledger.wire_output import OUTPUTS, fill_output
from keyvault.ledger.wire_payload import fill_payload, payload_from_proto
from keyvault.v1 import signing_pb2

_POINT_BYTES, _ED25519_BYTES = 65, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedKey:
    """The public key that must have signed; empty for HMAC."""

    algorithm: KeyAlgorithm
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it was sent."""

    request_id: str
    key: KeyName
    payload: Payload

    @classmethod
    def of(cls, enclave: EnclaveName, key: str, payload: Payload, request_id: str) -> "Asked":
        """Return the request, or raise Malformed if what it means does not depend on the key and cannot be read.

        So it does if the parts are not what their kind has in a message, or would be something else there.
        """
        asked = cls(
            request_id=parse_request_id(request_id),
            key=KeyName.parse(enclave, key),
            payload=intents.checked(payload),
        )
        if payload_from_proto(asked.to_proto().payload) != payload:
            raise Malformed("payload", f"has a part that no {payload.kind} has: it would be sent as something else")
        return asked

    def to_proto(self) -> signing_pb2.SignRequest:
        """Return the message; the same bytes each time."""
        message = signing_pb2.SignRequest(key=self.key.resource, request_id=self.request_id)
        fill_payload(message.payload, self.payload)
        return message


def expected_of(public_key: bytes) -> ExpectedKey:
    """Return which key these bytes are: 32 bytes Ed25519, 65 bytes a point on secp256k1 or P-256; or raise Malformed.

    A point lies on one of the two curves only: their equations are different and their fields are.
    """
    if len(public_key) == _ED25519_BYTES:
        return ExpectedKey(algorithm=KeyAlgorithm.ED25519, public_key=public_key)
    if len(public_key) == _POINT_BYTES:
        for algorithm, curve in ((KeyAlgorithm.SECP256K1, ec.SECP256K1()), (KeyAlgorithm.P256, ec.SECP256R1())):
            try:
                ec.EllipticCurvePublicKey.from_encoded_point(curve, public_key)
            except ValueError:
                continue
            return ExpectedKey(algorithm=algorithm, public_key=public_key)
    raise Malformed(
        "expected_keys", "must be 32 bytes (Ed25519) or an uncompressed point of 65 bytes (secp256k1, P-256)"
    )


def key_version_of(asked: Asked, response: signing_pb2.SignResponse) -> KeyName:
    """Return the version that says it signed; raise SignatureMismatch if the answer is about something else."""
    if response.request_id != asked.request_id:
        raise _mismatch(asked, f"the answer is for request id {response.request_id[:80]!r}")
    try:
        version = KeyName.of_resource(asked.key.enclave, response.key_version)
    except Malformed as error:
        raise _mismatch(asked, str(error)) from None
    if not asked.key.covers(version):
        raise _mismatch(asked, f"{response.key_version} answered for {asked.key.resource}")
    return version


def verified(asked: Asked, response: signing_pb2.SignResponse, expected: ExpectedKey) -> Signed:
    """Return the answer once everything above holds; raise SignatureMismatch otherwise."""
    key_version_of(asked, response)
    signer = _signer(asked, response, expected)
    intent = _intent(asked, signer)
    if expected.algorithm not in intent.algorithms:
        raise _mismatch(asked, f"a {expected.algorithm} key makes no signature for {asked.payload.kind}")
    if intent.stamped != response.HasField("stamp"):
        raise _mismatch(asked, "the answer says of its time what the payload does not")
    if response.signing_input != intent.signing_input:
        raise _mismatch(asked, "something else was signed than what was sent")
    signature = _signature(asked, response)
    try:
        verify_signature(expected.algorithm, expected.public_key, intent.signing_input, signature)
    except Unproven as error:
        raise _mismatch(asked, str(error)) from None
    output = _output(asked, response, signer, signature)
    return RESULTS[asked.payload.kind](
        request_id=asked.request_id,
        key_version=response.key_version,
        ledger_index=response.ledger_index,
        signing_input=response.signing_input,
        signature=signature.value,
        recovery_id=signature.recovery_id,
        output=output,
    )


def _mismatch(asked: Asked, problem: str) -> SignatureMismatch:
    return SignatureMismatch(problem, request_id=asked.request_id)


def _signature(asked: Asked, response: signing_pb2.SignResponse) -> Signature:
    try:
        return wire.signature_from_proto(response.signature)
    except Malformed as error:
        raise _mismatch(asked, str(error)) from None


def _signer(asked: Asked, response: signing_pb2.SignResponse, expected: ExpectedKey) -> Signer:
    """Return the expected key as signer, with the answer's stamp, which the signature has to bear out."""
    stamp = UNSTAMPED
    if response.HasField("stamp"):
        stamp = Stamp(at=UnixMillis(response.stamp.at_ms), nonce=response.stamp.nonce)
        if stamp.at < 0:
            raise _mismatch(asked, "the answer's time is negative")
    return Signer(algorithm=expected.algorithm, public_key=expected.public_key, stamp=stamp)


def _intent(asked: Asked, signer: Signer) -> Intent:
    try:
        return intents.parse(asked.payload, signer)
    except Malformed as error:
        raise _mismatch(asked, f"an answer came to what cannot be signed: {error}") from None


def _output(asked: Asked, response: signing_pb2.SignResponse, signer: Signer, signature: Signature) -> Output:
    """Return what is to be sent, made here; raise SignatureMismatch if the answer has something else."""
    try:
        output = intents.assemble(asked.payload, signer, signature)
    except KeyvaultError as error:
        raise _mismatch(asked, str(error)) from None
    ours = signing_pb2.SignResponse()
    fill_output(ours, asked.payload.kind, output)
    for place in OUTPUTS:
        if getattr(response, place) != getattr(ours, place) or response.HasField(place) != ours.HasField(place):
            raise _mismatch(asked, f"the answer's {place} is not what was sent, with the signature")
    return output
