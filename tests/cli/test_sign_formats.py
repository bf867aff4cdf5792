"""``keyvault sign`` for every format: files, stdin and options in, what venue or chain takes out."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import coincurve
import pytest
from click.testing import Result
from eth_account import Account
from eth_account.messages import encode_defunct
from solders.transaction import VersionedTransaction

from keyvault import intents
from tests.cli.conftest import SECRET
from tests.every_format import ACCOUNT, ADDRESS, FORMATS, ORDER, authorization, psbt, sign_doc, solana_message
from tests.intents import bitcoin_building as bitcoin
from tests.intents import cosmos_building as cosmos

Run = Callable[..., Result]
COMMON = {"request_id", "key_version", "ledger_index", "signing_input", "signature", "recovery_id"}
BYTES = COMMON | {"raw", "raw_base64"}
REQUEST = COMMON | {"query", "body"}


def _signed(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    document: dict[str, str] = json.loads(result.stdout)
    return document


def _public_key(keyvault: Run, key: str = "desk") -> bytes:
    shown = json.loads(keyvault("key", "show", key, "--json").stdout)
    return bytes.fromhex(shown["public_key"].removeprefix("0x"))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def test_an_authorization_by_its_fields(keyvault: Run) -> None:
    """The 65 bytes recover to the key over what EIP-7702 hashes."""
    fields = ("--chain-id", "1", "--address", ADDRESS, "--nonce", "7")
    document = _signed(keyvault("sign", "authorization", "--key", "desk", *fields, "--json"))
    assert set(document) == BYTES
    raw = _bytes(document["raw"])
    found = coincurve.PublicKey.from_signature_and_message(
        raw[:64] + bytes((raw[64] % 27,)), intents.keccak256(authorization()), hasher=None
    )
    assert found.format(compressed=False) == _public_key(keyvault)
    told = keyvault("sign", "authorization", "--key", "desk", *fields)
    assert told.stderr.startswith("LETS THE CODE AT 0x35353535")


def test_a_message_is_every_byte_of_the_file(keyvault: Run, tmp_path: Path) -> None:
    """A wallet recovers the address from the message as it stands; file and stdin are the same."""
    (tmp_path / "message").write_text("Hello, Bob!\n")
    same = ("--key", "desk", "--request-id", "message-1", "--json")
    document = _signed(keyvault("sign", "message", tmp_path / "message", *same))
    assert set(document) == BYTES
    signer = Account.recover_message(encode_defunct(text="Hello, Bob!\n"), signature=_bytes(document["raw"]))
    assert signer == intents.ethereum_address(_public_key(keyvault))
    assert _signed(keyvault("sign", "message", "-", *same, stdin="Hello, Bob!\n")) == document
    other = keyvault("sign", "message", "-", *same, stdin="Hello, Bob!")
    assert other.exit_code == 2
    assert json.loads(other.stderr)["error"]["reason"] == "REQUEST_ID_REUSED"


def test_an_action_of_hyperliquid(keyvault: Run) -> None:
    """The body has the action as it was given, the service's nonce, and the signature."""
    action = FORMATS["hyperliquid"].make(b"").parts[0].decode()
    end = ("--expires-after", "4102444800000", "--vault", "0x" + "ab" * 20)
    document = _signed(keyvault("sign", "hyperliquid", "--key", "desk", "-", *end, "--json", stdin=action + "\n"))
    assert set(document) == REQUEST | {"path"}
    body = json.loads(document["body"])
    assert (body["action"], body["vaultAddress"]) == (json.loads(action), "0x" + "ab" * 20)
    assert body["expiresAfter"] == 4102444800000
    assert int(body["signature"]["r"], 16) == int(document["signature"][2:66], 16)


@pytest.mark.parametrize("encoding", ["base64", "hex", "binary"])
def test_a_solana_message_in_each_encoding(keyvault: Run, tmp_path: Path, encoding: str) -> None:
    """The transaction is what Solana's own code verifies."""
    data = solana_message(_public_key(keyvault, "desk-sol"))
    written = {"base64": base64.encodebytes(data), "hex": f"0x{data.hex()}\n".encode(), "binary": data}[encoding]
    (tmp_path / "message").write_bytes(written)
    by_file = ("sign", "solana", "--key", "desk-sol", tmp_path / "message", "--encoding", encoding, "--json")
    document = _signed(keyvault(*by_file))
    assert set(document) == BYTES | {"transaction_hash"}
    transaction = VersionedTransaction.from_bytes(base64.b64decode(document["raw_base64"]))
    assert transaction.verify_with_results() == [True]


def test_a_sign_doc_of_cosmos(keyvault: Run) -> None:
    """TxRaw has the bytes of the SignDoc and one signature."""
    data = sign_doc(_public_key(keyvault))
    document = _signed(
        keyvault("sign", "cosmos", "--key", "desk", "-", "--json", stdin=base64.b64encode(data).decode())
    )
    raw = cosmos.tx.TxRaw.FromString(base64.b64decode(document["raw_base64"]))
    assert cosmos.document(raw.body_bytes, raw.auth_info_bytes).parts[0] == data
    assert list(raw.signatures) == [_bytes(document["signature"])]


def test_a_psbt_with_two_inputs(keyvault: Run, tmp_path: Path) -> None:
    """The PSBT comes back with both signatures, and the transaction that a wallet makes of it; again, the same."""
    (tmp_path / "spend.psbt").write_bytes(psbt(_public_key(keyvault), 2))
    command = ("sign", "psbt", "--key", "desk", tmp_path / "spend.psbt", "--encoding", "binary", "--network", "regtest")
    same = ("--request-id", "spend-1", "--json")
    result = keyvault(*command, *same)
    document = _signed(result)
    assert set(document) == {
        "request_id",
        "key_version",
        "ledger_indices",
        "inputs",
        "psbt",
        "raw_transaction",
    }
    assert json.loads(result.stdout)["inputs"] == [0, 1]
    finalised = bitcoin.finalised_by_embit(base64.b64decode(document["psbt"]))
    assert _bytes(document["raw_transaction"]) == finalised
    assert keyvault(*command, *same).stdout == result.stdout
    told = keyvault(*command)
    assert told.stderr.count("Sends 0.00198 BTC to bcrt1") == 1
    assert "inputs           0, 1\n" in told.stdout
    signed = keyvault("sign", "psbt", "--key", "desk", "-", "--network", "regtest", stdin=document["psbt"])
    assert (signed.exit_code, "no input waits" in signed.stderr) == (2, True)


VENUES = {
    "okx": ("okx-secret", "--path", "/api/v5/trade/order", "--body", FORMATS["okx"].make(b"").parts[3].decode()),
    "bybit": ("bybit-secret", "--path", "/v5/order/create", "--body", FORMATS["bybit"].make(b"").parts[3].decode()),
    "coinbase": ("desk-p256", "--path", "/api/v3/brokerage/orders", "--body", "{}"),
    "kraken": ("kraken", "--path", "/0/private/Balance"),
    "deribit": ("deribit-secret", "--path", FORMATS["deribit"].make(b"").parts[1].decode()),
    "polymarket": (
        "polymarket-secret",
        *("--path", "/order", "--address", ADDRESS),
        *("--body", FORMATS["polymarket"].make(b"").parts[2].decode()),
    ),
}


@pytest.mark.parametrize("venue", VENUES)
def test_a_request_to_each_venue(keyvault: Run, tmp_path: Path, venue: str) -> None:
    """Path, headers and body are printed as they are to be sent; a body from a file is the same."""
    key, *rest = VENUES[venue]
    method = {"kraken": (), "deribit": ("--method", "GET")}.get(venue, ("--method", "POST"))
    command = ("sign", "exchange", "--venue", venue, "--account", ACCOUNT, "--key", key, *method, *rest)
    document = _signed(keyvault(*command, "--request-id", f"{venue}-1", "--json"))
    assert set(document) == REQUEST | {"path", "headers"}
    if "--body" in rest:
        (tmp_path / "body").write_text(rest[-1])
        again = (*command[:-2], "--body-file", tmp_path / "body", "--request-id", f"{venue}-1", "--json")
        assert _signed(keyvault(*again)) == document
    shown = keyvault(*command)
    assert shown.exit_code == 0
    assert all(f"{name} " in shown.stdout for name in document["headers"])


def test_kraken_s_request_is_what_kraken_verifies(keyvault: Run) -> None:
    """API-Sign is the HMAC-SHA512 of path and SHA-256 of nonce and body."""
    command = ("sign", "exchange", "--key", "kraken", "--venue", "kraken", "--account", ACCOUNT)
    document = json.loads(keyvault(*command, "--path", "/0/private/Balance", "--json").stdout)
    nonce = document["body"].removeprefix("nonce=")
    data = b"/0/private/Balance" + hashlib.sha256((nonce + document["body"]).encode()).digest()
    expected = hmac.digest(SECRET.encode(), data, hashlib.sha512)
    assert document["headers"]["API-Sign"] == base64.b64encode(expected).decode()


def test_a_message_of_a_websocket(keyvault: Run) -> None:
    """The whole message is printed, with key, time and signature in it."""
    command = ("sign", "exchange-message", "--key", "mail-secret", "--method", "order.place", "--account", ACCOUNT, "-")
    document = _signed(keyvault(*command, "--json", stdin=json.dumps(ORDER)))
    message = json.loads(document["message"])
    assert (message["method"], message["params"]["apiKey"]) == ("order.place", ACCOUNT)
    assert message["params"]["signature"] == document["signature"][2:]


LOGONS = {
    "websocket": ("desk-ed", "--venue", "binance", "--protocol", "websocket"),
    "okx": ("okx-secret", "--venue", "okx", "--protocol", "websocket"),
    "deribit": ("deribit-secret", "--venue", "deribit", "--protocol", "oauth", "--data", "a1"),
    "fix": (
        "desk-ed",
        *("--venue", "binance", "--protocol", "fix"),
        *("--sender-comp-id", "DESK", "--target-comp-id", "SPOT", "--sequence-number", "1"),
    ),
    "kraken": (
        "kraken",
        *("--venue", "kraken", "--protocol", "fix"),
        *("--sender-comp-id", "DESK", "--target-comp-id", "KRAKEN-TRD", "--sequence-number", "1"),
    ),
}


@pytest.mark.parametrize("name", LOGONS)
def test_each_log_on(keyvault: Run, name: str) -> None:
    """The message is printed; people are told that it opens a session, and see the fields of FIX apart."""
    key, *rest = LOGONS[name]
    command = ("sign", "logon", "--key", key, *rest, "--account", ACCOUNT)
    assert ACCOUNT in _signed(keyvault(*command, "--json"))["message"]
    shown = keyvault(*command)
    assert "OPENS A SESSION" in shown.stderr
    assert "\x01" not in shown.stdout
    assert ("|35=A|34=1|" in shown.stdout) == ("fix" in rest)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("solana", "-"), "not base64"),
        (("solana", "-", "--encoding", "hex"), "not hex"),
        (("cosmos", "-", "--encoding", "binary"), "cosmos_sign_doc"),
        (("psbt", "-", "--encoding", "binary"), "bitcoin_psbt"),
        (("hyperliquid", "-"), "hyperliquid_action"),
        (("exchange", "--query", "a=b", "--method", "GET"), "leave it out"),
        (("exchange", "--venue", "kraken", "--path", "/0/private/A"), "account"),
        (("exchange", "--body", "a", "--body-file", "-"), "one way"),
        (("exchange-message", "-", "--method", "order.place", "--account", ACCOUNT), "parameters"),
        (("logon", "--venue", "okx", "--protocol", "fix", "--account", ACCOUNT), "no log-on by fix"),
        (("logon", "--venue", "deribit", "--protocol", "oauth", "--account", ACCOUNT, "--data", "\n"), "data"),
        (("authorization", "--chain-id", "1", "--nonce", "1", "--address", "0x12"), "address"),
    ],
)
def test_what_is_malformed_is_never_sent(keyvault: Run, arguments: tuple[str, ...], says: str) -> None:
    """A payload that cannot be decoded is refused here, with the field that is wrong, and exit code 2."""
    result = keyvault("sign", arguments[0], "--key", "desk", *arguments[1:], stdin="?!")
    assert result.exit_code == 2, result.stderr
    assert says in result.stderr
    assert result.stdout == ""
