"""FIX logons: Binance and Kraken."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import AT, NONCE, assemble, b64, parse, payload, refusal, sha512, signer

PEM = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u
-----END PRIVATE KEY-----
"""
"""Key of the example in Binance's documentation."""
USER = "sBRXrJx2DsOraMXOaUovEhgVRcjOvCtQwnWj8VxkOh1xqboS02SPGfKi2h8spZJb"
EXAMPLE = (
    "8=FIX.4.4|9=247|35=A|34=1|49=EXAMPLE|52=20240627-11:17:25.223|56=SPOT|95=88|"
    "96=4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA==|"
    f"98=0|108=30|141=Y|553={USER}|25035=2|10=227|"
)


def logon(kind: PayloadKind, *parts: str) -> Payload:
    """Return a logon."""
    return payload(kind, *parts)


BINANCE = logon(PayloadKind.BINANCE_FIX_LOGON, "EXAMPLE", "SPOT", "1", USER)
KRAKEN = logon(PayloadKind.KRAKEN_FIX_LOGON, "DESK", "KRAKEN-TRD", "7", "aB+c/d==")


def test_example_of_binance() -> None:
    """The documentation's key, names and time give its whole Logon message, byte by byte."""
    key = load_pem_private_key(PEM, None)
    assert isinstance(key, Ed25519PrivateKey)
    then = signer(KeyAlgorithm.ED25519, at=1_719_487_045_223)
    intent = parse(BINANCE, then)
    assert intent.signing_input == b"A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223"
    message = assemble(BINANCE, key.sign(intent.signing_input), then).message
    assert message == EXAMPLE.replace("|", "\x01")


def test_binance_logon_is_a_session() -> None:
    """A logon to Binance is a SESSION, for Ed25519 keys only; its time is the service's."""
    intent = parse(BINANCE)
    assert intent.effects == (Effect(operation=Operation.SESSION, venue="binance"),)
    assert intent.algorithms == {KeyAlgorithm.ED25519}
    assert intent.binds == {Bound.EXPIRY}
    assert (intent.completeness, intent.stamped) == (Completeness.FULL, True)
    assert intent.expires_at == AT + 60_000  # RecvWindow is not signed


def test_kraken_logon_is_a_session() -> None:
    """A logon to Kraken signs the hash of its fields and the nonce, as the venue's sample code does."""
    intent = parse(KRAKEN)
    fields = "35=A\x0134=7\x0149=DESK\x0156=KRAKEN-TRD\x01553=aB+c/d==\x01"
    assert intent.signing_input == hashlib.sha256(f"{fields}{NONCE}".encode()).digest()
    assert intent.effects == (Effect(operation=Operation.SESSION, venue="kraken"),)
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA512}
    assert intent.binds == {Bound.ACCOUNT, Bound.EXPIRY, Bound.NONCE}
    assert (intent.expires_at, intent.stamped) == (NONCE + 5000, True)
    value = sha512(intent.signing_input)
    message = assemble(KRAKEN, value).message
    body = message.split("\x01", 2)[2].rpartition("10=")[0]
    assert body == (
        f"35=A\x0134=7\x0149=DESK\x0152=20231114-22:13:20.123\x0156=KRAKEN-TRD\x0198=0\x01108=60\x01"
        f"553=aB+c/d==\x01554={b64(value)}\x015025={NONCE}\x01"
    )


@pytest.mark.parametrize("request_", [BINANCE, KRAKEN])
def test_length_and_checksum_count(request_: Payload) -> None:
    """BodyLength and CheckSum are what FIX says, for every number and length of names."""
    for number in range(1, 400):
        sender, target, _, key = request_.parts
        changed = Payload(kind=request_.kind, parts=(sender + b"x" * (number % 7), target, b"%d" % number, key))
        message = assemble(changed, bytes(64)).message.encode()
        head, _, rest = message.partition(b"\x0135=")
        body, mark, check = rest.rpartition(b"\x0110=")
        assert head == b"8=FIX.4.4\x019=%d" % len(b"35=" + body + b"\x01")
        assert check == b"%03d\x01" % (sum(message[: message.rindex(mark) + 1]) % 256)


@pytest.mark.parametrize("kind", [PayloadKind.BINANCE_FIX_LOGON, PayloadKind.KRAKEN_FIX_LOGON])
@pytest.mark.parametrize(
    ("parts", "field"),
    [
        (("", "SPOT", "1", "k"), "SenderCompID"),
        (("A\x0156=X", "SPOT", "1", "k"), "SenderCompID"),
        (("A|B", "SPOT", "1", "k"), "SenderCompID"),
        (("é", "SPOT", "1", "k"), "SenderCompID"),
        (("A", "SP OT", "1", "k"), "TargetCompID"),
        (("A", "SPOT", "0", "k"), "MsgSeqNum"),
        (("A", "SPOT", "01", "k"), "MsgSeqNum"),
        (("A", "SPOT", "1\x01", "k"), "MsgSeqNum"),
        (("A", "SPOT", "1234567890", "k"), "MsgSeqNum"),
        (("A", "SPOT", "1", "k\x0110"), "account"),
        (("A", "SPOT", "1", ""), "account"),
    ],
)
def test_refused(kind: PayloadKind, parts: tuple[str, ...], field: str) -> None:
    """No part can end its field and begin another one."""
    assert refusal(logon(kind, *parts))[0] == field


@pytest.mark.parametrize("request_", [BINANCE, KRAKEN])
def test_unfit_signature_is_broken(request_: Payload) -> None:
    """A signature of another length never leaves."""
    with pytest.raises(Broken):
        assemble(request_, bytes(32))
