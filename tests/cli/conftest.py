"""One real deployment for each test process, with a policy and some keys; and a way to run commands in this process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keyvault.cli.main import cli
from tests.deployment import Deployment, deployment

Run = Callable[..., Result]

POLICY = """\
version: 2
rules:
  - id: transfers
    verdict: allow
    keys: any
    principals: any
    kinds: [evm-transaction]
    operations: [transfer]
    chains: [1]
    destinations: ["0x52908400098527886E0F7030069857D2E4169EE7"]
    amount: 2 ether
    fee: 0.1 ether
  - id: orders
    verdict: allow
    keys: [mail-secret, desk-ed]
    principals: any
    kinds: [binance-rest]
    operations: [order]
    venues: [binance]
    symbols: any
  - id: large-transfers
    verdict: escalate
    quorum: 1 of everybody
    keys: [asked]
    principals: any
    kinds: [evm-transaction]
    operations: [transfer]
    chains: [1]
    destinations: any
    above: 2 ether
    fee: any
  - id: mail-asked
    verdict: escalate
    quorum: 1 of everybody
    keys: [asked]
    principals: any
    kinds: [typed-data]
    operations: [typed-data]
    chains: [1]
    destinations: any
    primary_types: any
  - id: mail
    verdict: allow
    keys: [desk]
    principals: any
    kinds: [typed-data]
    operations: [typed-data]
    chains: [1]
    destinations: ["0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"]
    primary_types: [Mail]
  - id: messages
    verdict: allow
    keys: [desk]
    principals: any
    kinds: [evm-message]
    operations: [message]
  - id: delegations
    verdict: allow
    keys: [desk]
    principals: any
    kinds: [evm-authorization]
    operations: [delegate]
    chains: [1]
    destinations: any
    fee: any
  - id: coins
    verdict: allow
    keys: [desk, desk-sol]
    principals: any
    kinds: [solana-message, cosmos-sign-doc]
    operations: [transfer]
    chains: any
    venues: any
    destinations: any
    contracts: any
    assets: any
    amount: any
    fee: any
  - id: bitcoin
    verdict: allow
    keys: [desk]
    principals: any
    kinds: [bitcoin-psbt]
    operations: [transfer]
    chains: [bitcoin-regtest]
    destinations: any
    amount: any
    fee: any
  - id: hyperliquid
    verdict: allow
    keys: [desk]
    principals: any
    kinds: [hyperliquid-action]
    operations: [order]
    venues: [hyperliquid]
    chains: any
    symbols: any
    assets: any
    amount: any
  - id: binance-sessions
    verdict: allow
    keys: [mail-secret, desk-ed]
    principals: any
    kinds: [binance-ws, binance-ws-logon, binance-fix-logon]
    operations: [order, session]
    venues: any
    symbols: any
  - id: bybit
    verdict: allow
    keys: [bybit-secret]
    principals: any
    kinds: [bybit-rest]
    operations: [order]
    venues: any
    symbols: any
  - id: okx
    verdict: allow
    keys: [okx-secret]
    principals: any
    kinds: [okx-rest, okx-ws-logon]
    operations: [order, session]
    venues: any
    symbols: any
  - id: coinbase
    verdict: allow
    keys: [desk-p256]
    principals: any
    kinds: [coinbase-jwt]
    operations: [session, request]
    venues: any
  - id: kraken
    verdict: allow
    keys: [kraken]
    principals: any
    kinds: [kraken-rest, kraken-fix-logon]
    operations: [request, session]
    venues: any
  - id: deribit
    verdict: allow
    keys: [deribit-secret]
    principals: any
    kinds: [deribit-rest, deribit-auth]
    operations: [order, session]
    venues: any
    symbols: any
  - id: polymarket
    verdict: allow
    keys: [polymarket-secret]
    principals: any
    kinds: [polymarket-rest]
    operations: [order]
    venues: any
    symbols: any
limits:
  - id: slow
    keys: [limited]
    window: 24h
    count: 1
"""
KEYS = (
    ("desk", "secp256k1"),
    ("limited", "secp256k1"),
    ("asked", "secp256k1"),
    ("desk-ed", "ed25519"),
    ("desk-sol", "ed25519"),
    ("desk-p256", "p256"),
)
SECRETS = (
    ("mail-secret", "hmac-sha256"),
    ("bybit-secret", "hmac-sha256"),
    ("okx-secret", "hmac-sha256"),
    ("deribit-secret", "hmac-sha256"),
    ("polymarket-secret", "hmac-sha256"),
    ("kraken", "hmac-sha512"),
)
"""One for each venue: a key that signs for two is refused."""
SECRET = "an-api-secret-that-must-not-be-seen"


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """Run one command in this process, without KEYVAULT_* of our own environment."""
    runner = CliRunner(env={"KEYVAULT_DEPLOYMENT": None, "KEYVAULT_MEMBER": None, "KEYVAULT_VKEY_FILE": None})
    return runner.invoke(cli, [str(each) for each in arguments], input=stdin)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that is served, POLICY in force.

    Keys: those of KEYS and SECRETS.
    Members are alice and bob (admins) and carol (approver); what loosens the policy waits a second.
    """
    folder = tmp_path_factory.mktemp("cli")
    with deployment(folder) as made:
        (folder / "policy.yaml").write_text(POLICY)
        where = ("--deployment", made.dir, "--member", "alice", "--approve-with", "bob", "--json")
        for name, algorithm in KEYS:
            carried_out(run("key", "create", name, "--algorithm", algorithm, *where))
        for name, algorithm in SECRETS:
            importing = ("key", "import", name, "--algorithm", algorithm, "--secret-file", "-")
            carried_out(run(*importing, *where, stdin=SECRET + "\n"))
        waits = document_of(run("policy", "apply", folder / "policy.yaml", *where))["proposal"]["short"]
        carried_out(run("proposals", "watch", waits, "--deployment", made.dir, "--json"))
        yield made


@pytest.fixture
def keyvault(desk: Deployment, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run commands against the deployment, as member alice who has set KEYVAULT_DEPLOYMENT and KEYVAULT_MEMBER."""
    monkeypatch.setenv("KEYVAULT_DEPLOYMENT", str(desk.dir))
    monkeypatch.setenv("KEYVAULT_MEMBER", "alice")

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(each) for each in arguments], input=stdin)

    return invoke


@pytest.fixture(scope="session")
def offline() -> Run:
    """Run commands without any deployment."""
    return run


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """The policy of the deployment, as a file of the test's own."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def document_of(result: Result) -> dict[str, Any]:
    """Return what a command with --json printed; it must have ended with 0."""
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def carried_out(result: Result) -> dict[str, Any]:
    """Return the same of a command whose proposal was carried out."""
    document = document_of(result)
    assert document["proposal"]["state"] == "EXECUTED"
    return document
