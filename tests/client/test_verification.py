"""A server that lies in any way about a signature is found out, and is not asked again."""

from collections.abc import Callable

import coincurve
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account
from eth_account.messages import encode_typed_data

from keyvault import intents
from keyvault.client import AsyncClient, Credentials, InvalidRequest, SignatureMismatch, Signed
from keyvault.core.intent import Payload, PayloadKind
from keyvault.ledger import wire
from keyvault.v1 import signing_pb2
from tests.client.scripted import P256_ORDER, SECP256K1_ORDER, Keys, ScriptedServer, Step, answer
from tests.intents.building import TIME, dynamic_fee, legacy, mail

Response = signing_pb2.SignResponse
DIGEST = bytes(range(32))
NOBODY = Credentials(ca=b"", certificate=b"", private_key=b"")
QUERY = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&{TIME}"
PAYLOADS = {
    "transfer": ("eth", Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(dynamic_fee(),))),
    "legacy": ("eth", Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(legacy(),))),
    "digest": ("eth", Payload(kind=PayloadKind.RAW_DIGEST, parts=(DIGEST,))),
    "p256": ("p256", Payload(kind=PayloadKind.RAW_DIGEST, parts=(DIGEST,))),
    "ed25519": ("ed", Payload(kind=PayloadKind.BINANCE_REST, parts=(QUERY.encode(), b""))),
    "hmac": ("hmac", Payload(kind=PayloadKind.BINANCE_REST, parts=(b"", QUERY.encode()))),
}


def changed(change: Callable[[Response], object]) -> Step:
    """Return a step that changes an honest answer in place."""

    def step(honest: Response) -> Response:
        change(honest)
        return honest

    return step


def flip(data: bytes, place: int = -1) -> bytes:
    changed_bytes = bytearray(data)
    changed_bytes[place] ^= 1
    return bytes(changed_bytes)


def flip_signature(response: Response) -> None:
    response.signature.value = flip(response.signature.value)


def high_s(response: Response) -> None:
    """The other s that verifies; for secp256k1 with the recovery id that goes with it."""
    order = SECP256K1_ORDER if response.signature.HasField("recovery_id") else P256_ORDER
    s = int.from_bytes(response.signature.value[32:], "big")
    response.signature.value = response.signature.value[:32] + (order - s).to_bytes(32, "big")
    if response.signature.HasField("recovery_id"):
        response.signature.recovery_id ^= 1


def other_recovery_id(response: Response) -> None:
    response.signature.recovery_id ^= 1


def other_key_signed(response: Response) -> None:
    signature = Keys().sign("eth", response.signing_input)
    response.signature.CopyFrom(wire.signature_to_proto(signature))


def other_transaction(response: Response) -> None:
    """A whole honest answer, but over another transaction than the one that was sent."""
    payload = Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(dynamic_fee(value=b"\x02"),))
    response.signing_input = intents.parse(payload, intents.ANYBODY).signing_input


def other_raw_transaction(response: Response) -> None:
    response.transaction.raw_transaction = flip(response.transaction.raw_transaction, 12)


def other_hash(response: Response) -> None:
    response.transaction.transaction_hash = flip(response.transaction.transaction_hash)


def other_request_id(response: Response) -> None:
    response.request_id = "another"


def other_key_name(response: Response) -> None:
    response.key_version = "enclaves/hot/keys/other/versions/1"


def no_version(response: Response) -> None:
    response.key_version = "enclaves/hot/keys/eth"


def other_enclave(response: Response) -> None:
    response.key_version = response.key_version.replace("hot", "cold")


def longer_query(response: Response) -> None:
    response.exchange_request.query = "reduceOnly=false&" + response.exchange_request.query


def longer_body(response: Response) -> None:
    response.exchange_request.body = "reduceOnly=false&" + response.exchange_request.body


def other_place(response: Response) -> None:
    response.exchange_request.query, response.exchange_request.body = response.exchange_request.body, ""


def other_signed_text(response: Response) -> None:
    response.signing_input += b"0"


def no_output(response: Response) -> None:
    for place in ("transaction", "typed_data", "exchange_request"):
        response.ClearField(place)


def stray_output(response: Response) -> None:
    response.transaction.raw_transaction = b"\x02"


def short(response: Response) -> None:
    response.signature.value = response.signature.value[:-1]


def no_signature(response: Response) -> None:
    response.ClearField("signature")


EVERYWHERE = (other_request_id, other_key_name, other_enclave, other_signed_text, short, no_signature)
LIES = [
    *((payload, lie) for payload in PAYLOADS for lie in EVERYWHERE),
    *((payload, flip_signature) for payload in PAYLOADS if payload != "hmac"),
    *((payload, high_s) for payload in ("transfer", "digest", "p256")),
    *((payload, lie) for payload in ("transfer", "legacy") for lie in (other_raw_transaction, other_hash, no_output)),
    *(("transfer", lie) for lie in (other_recovery_id, other_key_signed, other_transaction, no_version)),
    *(("digest", lie) for lie in (other_recovery_id, other_key_signed, stray_output)),
    *(("ed25519", lie) for lie in (longer_query, no_output, stray_output)),
    *(("hmac", lie) for lie in (longer_body, other_place, no_output, flip_signature)),
]


@pytest.mark.parametrize(
    ("payload", "lie"), LIES, ids=lambda value: value if isinstance(value, str) else value.__name__
)
async def test_lies_are_found(server: ScriptedServer, payload: str, lie: Callable[[Response], object]) -> None:
    """Whatever is changed in an honest answer, SignatureMismatch is raised with the request id, and nothing retried."""
    server.script.append(changed(lie))
    key, asked = PAYLOADS[payload]
    async with server.client() as client:
        with pytest.raises(SignatureMismatch) as caught:
            await client.sign(key, asked, request_id="order-1")
    assert (caught.value.request_id, len(server.requests)) == ("order-1", 1)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_honest_answers_pass(server: ScriptedServer, payload: str) -> None:
    """What an honest server signs is returned, field by field."""
    key, asked = PAYLOADS[payload]
    async with server.client() as client:
        signed = await client.sign(key, asked)
    honest = answer(server.keys, signing_pb2.SignRequest.FromString(server.requests[0]))
    assert isinstance(signed, Signed)
    assert (signed.request_id, signed.key_version) == (honest.request_id, f"enclaves/hot/keys/{key}/versions/1")
    assert (signed.signing_input, signed.ledger_index) == (honest.signing_input, 7)
    assert signed.signature == honest.signature.value or payload == "p256"  # OpenSSL's nonces differ each time
    assert "signature" not in repr(signed)


async def test_transaction_is_what_a_wallet_makes(server: ScriptedServer) -> None:
    """The signed transaction has the sender that the key has, and the hash that a node will give it."""
    async with server.client() as client:
        signed = await client.sign_evm_transaction("eth", dynamic_fee())
        address = (await client.public_key("eth")).ethereum_address
    assert Account.recover_transaction(signed.raw_transaction) == address
    assert intents.keccak256(signed.raw_transaction) == signed.transaction_hash


async def test_typed_data_is_what_a_wallet_makes(server: ScriptedServer) -> None:
    """The signature over typed data recovers to the key's address, given as object or as text."""
    async with server.client() as client:
        signed = await client.sign_typed_data("eth", mail())
        address = (await client.public_key("eth")).ethereum_address
    recovered = Account.recover_message(encode_typed_data(full_message=mail()), signature=signed.rsv)
    assert recovered == address
    assert (signed.r + signed.s + bytes((signed.v,)), signed.r + signed.s) == (signed.rsv, signed.signature)


async def test_exchange_request_is_ready_to_be_sent(server: ScriptedServer) -> None:
    """The signed query begins with exactly what was sent and ends with the signature; so does a body."""
    async with server.client() as client:
        in_query = await client.sign_binance("hmac", query=QUERY)
        in_body = await client.sign_binance("ed", body=QUERY)
    assert (in_query.query, in_query.body) == (f"{QUERY}&signature={in_query.signature.hex()}", "")
    assert (in_body.body[: len(QUERY) + 11], in_body.query) == (f"{QUERY}&signature=", "")


async def test_keys_are_learned_once(server: ScriptedServer) -> None:
    """Without a pin the server is asked for a key when it first signs, and never again."""
    async with server.client() as client:
        for _ in range(3):
            await client.sign_digest("eth", DIGEST)
    assert server.key_requests == ["enclaves/hot/keys/eth/versions/1"]


async def test_learned_key_holds_for_the_client_s_life(server: ScriptedServer) -> None:
    """A server that has other keys from some moment on is found out by its first signature and by what it says."""
    async with server.client() as client:
        await client.sign_digest("eth", DIGEST)
        server.keys = Keys()
        with pytest.raises(SignatureMismatch):
            await client.sign_digest("eth", DIGEST)
        with pytest.raises(SignatureMismatch):
            await client.public_key("eth")


@pytest.mark.parametrize("name", ["eth", "eth/versions/1"])
async def test_pinned_key_is_not_asked_for(server: ScriptedServer, name: str) -> None:
    """With a pin the server is never asked, and another key of its own does not pass, in one attempt."""
    async with server.client(expected_keys={name: server.keys.public("eth")}) as client:
        await client.sign_digest("eth", DIGEST)
    other = coincurve.PrivateKey().public_key.format(compressed=False)
    async with server.client(expected_keys={name: other}) as client:
        with pytest.raises(SignatureMismatch):
            await client.sign_digest("eth", DIGEST)
        with pytest.raises(SignatureMismatch):
            await client.public_key("eth")
    assert len(server.requests) == 2


async def test_pin_cannot_be_weakened(server: ScriptedServer) -> None:
    """A pinned Ed25519 key is not satisfied by 32 bytes of HMAC, nor a P-256 key by a secp256k1 signature."""
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pins = {
        "hmac": server.keys.public("ed"),
        "eth": other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    }
    async with server.client(expected_keys=pins) as client:
        with pytest.raises(SignatureMismatch):
            await client.sign_binance("hmac", query=QUERY)
        with pytest.raises(SignatureMismatch):
            await client.sign_digest("eth", DIGEST)


@pytest.mark.parametrize("pin", [b"", b"\x04" + b"\1" * 64, b"\2" * 33, b"x" * 31])
def test_bad_pins_are_refused(pin: bytes) -> None:
    """A pin that is no public key is refused before anything is sent."""
    with pytest.raises(InvalidRequest):
        AsyncClient("localhost:1", NOBODY, enclave="hot", expected_keys={"eth": pin})


async def test_answer_by_another_version(server: ScriptedServer) -> None:
    """Who asks for one version is not content with another; who asks for none takes the one that answered."""
    async with server.client() as client:
        await client.sign_digest("eth/versions/1", DIGEST)
        with pytest.raises(SignatureMismatch):
            await client.sign_digest("eth/versions/2", DIGEST)
