import hashlib
import hmac
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from eth_account import Account
from eth_account.messages import encode_typed_data

from tests.cli.conftest import SECRET
from tests.deployment import KEYVAULT, Deployment

Run = Callable[..., Result]

TO = "0x52908400098527886E0F7030069857D2E4169EE7"
ETHER = ("--chain-id", "1", "--gas", "21000", "--to", TO, "--max-fee", "30 gwei", "--max-priority-fee", "1 gwei")
MAIL = {
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"},
        ],
        "Mail": [{"name": "contents", "type": "string"}],
    },
    "primaryType": "Mail",
    "domain": {"name": "Ether Mail", "chainId": 1, "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"},
    "message": {"contents": "Hello, Bob!"},
}
COMMON = {"request_id", "key_version", "ledger_index", "signing_input", "signature", "recovery_id"}


def _address(keyvault: Run) -> str:
    return str(json.loads(keyvault("key", "show", "desk", "--json").stdout)["ethereum_address"])


def _signed(result: Result) -> dict[str, str | int]:
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    document: dict[str, str | int] = json.loads(result.stdout)
    return document


def test_a_transaction_by_fields_is_what_the_chain_wants(keyvault: Run) -> None:
    """The raw transaction recovers to the key's address, and has the hash that is printed."""
    result = keyvault("sign", "evm-tx", "--key", "desk", "--nonce", "7", "--value", "1.5 ether", *ETHER, "--json")
    document = _signed(result)
    assert set(document) == COMMON | {"transaction_hash", "raw_transaction"}
    assert Account.recover_transaction(document["raw_transaction"]) == _address(keyvault)
    assert document["key_version"] == "enclaves/hot/keys/desk/versions/1"


def test_the_same_transaction_whole_is_the_same(keyvault: Run, tmp_path: Path) -> None:
    """--tx-hex, --tx FILE, --tx - and the fields say the same; the same request id gives the identical signature."""
    unsigned = "0x02f00180843b9aca008506fc23ac008252089452908400098527886e0f7030069857d2e4169ee7880de0b6b3a764000080c0"
    (tmp_path / "tx").write_text(unsigned + "\n")
    same = ("--key", "desk", "--request-id", "whole-1", "--json")
    by_fields = _signed(keyvault("sign", "evm-tx", "--nonce", "0", "--value", "1 ether", *ETHER, *same))
    assert by_fields["request_id"] == "whole-1"
    assert _signed(keyvault("sign", "evm-tx", "--tx-hex", unsigned, *same)) == by_fields
    assert _signed(keyvault("sign", "evm-tx", "--tx", tmp_path / "tx", *same)) == by_fields
    assert _signed(keyvault("sign", "evm-tx", "--tx", "-", *same, stdin=unsigned)) == by_fields


def test_other_bytes_under_the_same_request_id_are_an_error(keyvault: Run) -> None:
    """A request id stands for one payload for ever."""
    same = ("--key", "desk", "--request-id", "reused-1", "--nonce", "8")
    assert keyvault("sign", "evm-tx", "--value", "1 ether", *ETHER, *same).exit_code == 0
    other = keyvault("sign", "evm-tx", "--value", "1.1 ether", *ETHER, *same)
    assert other.exit_code == 2
    assert "(REQUEST_ID_REUSED)" in other.stderr
    assert other.stdout == ""


def test_people_see_what_they_sign(keyvault: Run) -> None:
    """Before it is sent the meaning is on stderr in plain words; the result alone is on stdout."""
    result = keyvault("sign", "evm-tx", "--key", "desk", "--nonce", "9", "--value", "0.25 ether", *ETHER)
    assert result.exit_code == 0
    sender = _address(keyvault)
    assert result.stderr == (
        f"Sends 0.25 native coin from {sender} to {TO} on chain 1, for a fee of at most 0.00063 native coin.\n"
    )
    lines = [line.split("  ", 1)[0] for line in result.stdout.splitlines()]
    assert lines[0] == "request_id"
    assert lines[-1] == "raw_transaction"


def test_a_refusal_says_why_and_ends_with_1(keyvault: Run) -> None:
    """More than the policy allows is refused with the reason and the nearest rule, and nothing on stdout."""
    command = ("sign", "evm-tx", "--key", "desk", "--nonce", "10", "--value", "2.1 ether", *ETHER)
    result = keyvault(*command)
    assert result.exit_code == 1
    assert "Refused (NO_RULE_ALLOWS): " in result.stderr
    assert "rule transfers would allow it but for: amount" in result.stderr
    assert result.stdout == ""
    error = json.loads(keyvault(*command, "--json").stderr)["error"]
    assert (error["exit_code"], error["kind"], error["reason"]) == (1, "REFUSED", "NO_RULE_ALLOWS")
    assert error["request_id"]


def test_a_limit_refuses_with_its_name(keyvault: Run) -> None:
    """The second signature in a day with a key that may make one is refused, naming the limit."""
    command = ("sign", "evm-tx", "--key", "limited", "--value", "1 wei", *ETHER)
    assert keyvault(*command, "--nonce", "0").exit_code in (0, 1)  # another test may have used it up
    second = keyvault(*command, "--nonce", "1", "--json")
    assert second.exit_code == 1
    error = json.loads(second.stderr)["error"]
    assert (error["reason"], error["rules"]) == ("LIMIT_EXCEEDED", ["slow"])


def test_typed_data_is_what_a_contract_verifies(keyvault: Run, tmp_path: Path) -> None:
    """r, s, v over EIP-712 data recover to the key's address; FILE and stdin are the same."""
    file = tmp_path / "mail.json"
    file.write_text(json.dumps(MAIL))
    same = ("--key", "desk", "--request-id", "mail-1", "--json")
    document = _signed(keyvault("sign", "typed-data", file, *same))
    assert set(document) == COMMON | {"r", "s", "v", "rsv"}
    signable = encode_typed_data(full_message=MAIL)
    assert Account.recover_message(signable, signature=document["rsv"]) == _address(keyvault)
    assert _signed(keyvault("sign", "typed-data", "-", *same, stdin=json.dumps(MAIL))) == document


def test_an_exchange_request_is_what_binance_verifies(keyvault: Run) -> None:
    """The printed query carries the HMAC-SHA256 of exactly the query that was given."""
    query = f"symbol=ETHUSDT&side=BUY&type=MARKET&quantity=1&timestamp={time.time_ns() // 1_000_000}"
    result = keyvault("sign", "exchange", "--key", "mail-secret", "--venue", "binance", "--query", query, "--json")
    document = _signed(result)
    assert set(document) == COMMON | {"query", "body"}
    expected = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    assert document["query"] == f"{query}&signature={expected}"
    assert document["body"] == ""


def test_a_digest_is_refused_unless_policy_names_the_key(keyvault: Run) -> None:
    """Blind signing is off: no rule of this policy speaks of raw digests."""
    result = keyvault("sign", "digest", "--key", "desk", "0x" + "9f" * 32)
    assert result.exit_code == 1
    assert "Refused (NO_RULE_ALLOWS)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("digest", "0x9f"), "must have exactly 32"),
        (("evm-tx",), "exactly one way"),
        (("evm-tx", "--tx-hex", "0x00", "--nonce", "1"), "the transaction lacks --chain-id"),
        (("evm-tx", "--tx-hex", "0x02c0"), "evm_transaction"),
        (("evm-tx", "--nonce", "1", *ETHER[:4], "--to", TO.replace("E", "e"), *ETHER[6:]), "EIP-55"),
        (("exchange", "--query", "a=1&signature=00"), "signature"),
        (("exchange", "--query", "a=1", "--body", "b=2"), "exchange_request"),
        (("digest", "0x" + "11" * 32, "--request-id", "no spaces"), "request_id"),
        (("digest", "0x" + "11" * 32, "--as", "bot/nobody"), "keyvault cert issue bot/nobody"),
    ],
)
def test_what_is_malformed_is_never_sent(keyvault: Run, arguments: tuple[str, ...], says: str) -> None:
    """A payload that cannot be decoded is refused here, with the field that is wrong, and exit code 2."""
    result = keyvault("sign", arguments[0], "--key", "desk", *arguments[1:])
    assert result.exit_code == 2, result.stderr
    assert says in result.stderr
    assert result.stdout == ""


def test_an_interrupt_names_the_request_id(desk: Deployment) -> None:
    """Ctrl-C while a server does not answer ends with 130 and says under which id the outcome can be learned."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = ("sign", "digest", "--key", "desk", "0x" + "11" * 32, "--request-id", "stopped-1")
        command = (*KEYVAULT, *arguments, "--deployment", str(desk.dir), "--target", target)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            silent.accept()[0].close()  # the command has begun to ask
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.endswith("Interrupted.\nTo learn the outcome: --request-id stopped-1\n")
