"""Personal messages: hashes in disguise, sign-ins, and text; eth-account as oracle."""

import random

import pytest
from eth_account import Account
from eth_account.messages import defunct_hash_message, encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Broken, Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents.evm_message import assemble, parse
from tests.intents.building import SECRET, sign
from tests.intents.building_evm import ACCOUNT, OTHER_SIGNER, SIGNER, message, mutations

CHECKSUMMED: str = Account.from_key(SECRET).address
HASH = "b3476d06" + "5c" * 28
SIGN_IN = (
    "service.org wants you to sign in with your Ethereum account:\n"
    f"{CHECKSUMMED}\n"
    "\n"
    "I accept the ServiceOrg Terms of Service: https://service.org/tos\n"
    "\n"
    "URI: https://service.org/login\n"
    "Version: 1\n"
    "Chain ID: 137\n"
    "Nonce: 32891757\n"
    "Issued At: 2021-09-30T16:25:24.000Z\n"
    "Expiration Time: 2021-09-30T17:25:24.5Z\n"
    "Not Before: 2021-09-30T18:25:24+02:00\n"
    "Request ID: some-id\n"
    "Resources:\n"
    "- ipfs://Qme7ss3ARVgxv6rXqVPiikMJ8u2NLgmgszg13pYrDKEoiu\n"
    "- https://example.com/my-web2-claim.json"
)
"""The example of EIP-4361 with our account and bounds in time."""
SHORT = SIGN_IN.replace("I accept the ServiceOrg Terms of Service: https://service.org/tos\n", "").partition("\nExp")[0]


def parsed(text: str | bytes) -> Intent:
    return parse(message(text if isinstance(text, bytes) else text.encode()), SIGNER)


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex(HASH),
        b"Please sign in to example dot co",
        HASH.encode(),
        b"0x" + HASH.encode(),
        b"0X" + HASH.upper().encode(),
        b" 0x" + HASH.encode() + b"\n",
        b"\x19\x01" + bytes(64),
        b"\x19Ethereum Signed Message:\n5hello",
        b"\x19",
        b"\xff\xfe",
        b"caf\xe9",
        b"Pay Bob\x00",
        b"Pay Bob\r\nPay Eve",
        b"\x1b[2Jcleared screen",
        "\u202eboB yaP".encode(),
        "\ufeffhello".encode(),
        "zero\u200bwidth".encode(),
        "line\u2028separator".encode(),
        b"\xed\xa0\x80",
    ],
)
def test_what_may_be_no_text_is_opaque(data: bytes) -> None:
    """A02: hashes, in bytes or as hex, EIP-191 in itself, and what cannot be shown as it is, are OPAQUE."""
    intent = parsed(data)
    assert intent.effects == (Effect(operation=Operation.OPAQUE, source=ACCOUNT),)
    assert (intent.completeness, intent.binds, intent.slot) == (Completeness.OPAQUE, frozenset(), None)


@pytest.mark.parametrize(
    "text",
    ["hello", "Grüße, 世界 🌍", "line\nline\ttab", HASH[1:], HASH + "ab", f"Order 0x{HASH}", "x" * 31, "x" * 33, "0x"],
)
def test_text_is_a_message(text: str) -> None:
    """Other text is MESSAGE: understood in part, bound to nothing, valid for ever."""
    intent = parsed(text)
    assert intent.effects == (Effect(operation=Operation.MESSAGE, source=ACCOUNT),)
    assert intent.completeness is Completeness.PARTIAL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert (intent.binds, intent.slot, intent.issued_at, intent.expires_at) == (frozenset(), None, None, None)


def test_sign_in_opens_a_session() -> None:
    """The text of EIP-4361 is SESSION for its domain, with its chain, account and bounds in time."""
    intent = parsed(SIGN_IN)
    end = UnixMillis(1_633_022_724_500)
    session = Effect(
        operation=Operation.SESSION, chain_id=137, destination="service.org", source=ACCOUNT, expires_at=end
    )
    assert intent.effects == (session,)
    assert intent.completeness is Completeness.PARTIAL
    assert intent.binds == {Bound.HOST, Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE, Bound.EXPIRY}
    assert (intent.not_before, intent.expires_at, intent.issued_at) == (1_633_019_124_000, end, None)


@pytest.mark.parametrize("scheme", ["", "https://"])
@pytest.mark.parametrize("domain", ["service.org", "localhost:3000", "127.0.0.1", "[::1]:8080"])
def test_sign_in_without_optional_parts(scheme: str, domain: str) -> None:
    """Scheme, statement, expiry and everything after it may be missing: the session then never ends."""
    intent = parsed(scheme + SHORT.replace("service.org want", f"{domain} want"))
    expected = Effect(operation=Operation.SESSION, chain_id=137, destination=domain, source=ACCOUNT)
    assert intent.effects == (expected,)
    assert intent.binds == {Bound.HOST, Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE}
    assert (intent.not_before, intent.expires_at) == (None, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("service.org wants", "service.org@evil.com wants"),
        ("service.org wants", " wants"),
        ("service.org wants", "service.org:0 wants"),
        ("service.org wants", "service.org  wants"),
        ("wants you", "Wants you"),
        (CHECKSUMMED, CHECKSUMMED[:-1] + ("0" if CHECKSUMMED[-1] != "0" else "1")),
        (CHECKSUMMED, CHECKSUMMED[:-1]),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 137", "Chain ID: 0137"),
        ("Chain ID: 137", "Chain ID: 0"),
        ("Chain ID: 137", "Chain ID: 0x89"),
        ("Chain ID: 137\n", ""),
        ("Nonce: 32891757", "Nonce: 3289175"),
        ("Issued At: 2021-09-30T16:25:24.000Z", "Issued At: 2021-13-30T16:25:24.000Z"),
        ("Issued At: 2021-09-30T16:25:24.000Z", "Issued At: 2021-09-30 16:25:24"),
        ("Expiration Time: 2021", "Expiration Time: 1969"),
        ("Expiration Time: 2021-09-30T17", "Expiration Time: 2021-09-30T25"),
        ("Not Before", "Not before"),
        ("\nURI:", "\n\nURI:"),
        ("URI: https://service.org/login\n", ""),
        ("- ipfs://", "- urn:recap:eyJhdHQiOnt9fQ\n- ipfs://"),
        ("some-id", "some id"),
        ("my-web2-claim.json", "my-web2-claim.json\n"),
    ],
)
def test_what_resembles_a_sign_in_is_opaque(old: str, new: str) -> None:
    """A lax site may take what EIP-4361 does not, so a spoilt one is no harmless message; ReCaps are more."""
    assert old in SIGN_IN
    intent = parsed(SIGN_IN.replace(old, new, 1))
    assert intent.effects == (Effect(operation=Operation.OPAQUE, source=ACCOUNT),)
    assert intent.completeness is Completeness.OPAQUE


def test_mutated_sign_ins_never_open_a_session_elsewhere() -> None:
    """Every changed sign-in is opaque, or a session of the domain and account that its first two lines name."""
    for changed in mutations(SIGN_IN.encode()):
        if not changed:
            continue
        (effect,) = parsed(changed).effects
        if effect.operation is Operation.SESSION:
            lines = changed.decode().split("\n")
            assert effect.destination == lines[0].partition(" ")[0].rpartition("/")[2]
            assert effect.source == lines[1].lower()


def test_long_texts_are_read_in_linear_time() -> None:
    """Texts that begin like a sign-in over and over are no trap for the reader."""
    for text in (
        "sign in with " * 1_800,
        "a." * 12_000 + " wants",
        "sign" + " " * 24_000,
        "https://" * 3_000,
        "a-" * 12_000,
    ):
        assert parsed(text).effects[0].operation in (Operation.MESSAGE, Operation.OPAQUE)


def test_thousands_are_signed_like_eth_account() -> None:
    """Digests of random bytes and texts of all lengths are eth-account's; a hundred signatures, too."""
    rng = random.Random(191)  # noqa: S311 - a fixed seed for a test
    for number in range(10_000):
        data = rng.randbytes(rng.randint(1, 120)) if number % 2 else rng.choice("aé漢 ").encode() * rng.randint(1, 99)
        intent = parsed(data)
        assert intent.signing_input == bytes(defunct_hash_message(primitive=data))
        if number < 100:
            output = assemble(message(data), SIGNER, sign(intent.signing_input))
            assert output.raw == bytes(Account.sign_message(encode_defunct(data), SECRET).signature)


@given(st.one_of(st.binary(min_size=1, max_size=200), st.text(min_size=1, max_size=60).map(lambda text: text.encode())))
def test_anything_has_one_effect(data: bytes) -> None:
    """Arbitrary bytes are MESSAGE or OPAQUE, and completeness says the same."""
    intent = parsed(data)
    (effect,) = intent.effects
    opaque = intent.completeness is Completeness.OPAQUE
    assert effect.operation is (Operation.OPAQUE if opaque else Operation.MESSAGE)


def test_empty_message_is_malformed() -> None:
    """Nothing is signed for nothing."""
    with pytest.raises(Malformed) as caught:
        parsed(b"")
    assert (caught.value.field, caught.value.problem) == ("evm_message", "is empty")


def test_a_key_without_an_account() -> None:
    """A key of another algorithm has no account, and its algorithm is refused."""
    intent = parse(message(b"hello"), OTHER_SIGNER)
    assert intent.effects[0].source is None
    assert OTHER_SIGNER.algorithm not in intent.algorithms


def test_unfit_signature_is_broken() -> None:
    """Without a recovery id there is no v."""
    with pytest.raises(Broken):
        assemble(message(b"hello"), SIGNER, Signature(value=b"\1" * 64))
