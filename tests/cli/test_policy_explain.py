"""`keyvault policy explain` and `quota`: why, from a server, from a file, from a ledger; and nothing is signed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from keyvault.cli.policy_quota import quota_table
from keyvault.core.limits_check import Quota
from keyvault.core.policy import ANY, Limit
from keyvault.core.policy_rules import Per
from keyvault.core.tallies import Measure
from tests.cli.conftest import document_of
from tests.deployment import Deployment

Run = Callable[..., Result]

GOOD, BAD = "0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77"
MAKER = "spiffe://keyvault.local/bot/maker"


def transfer(key: str = "desk", to: str = GOOD, value: str = "1 ether", nonce: int = 7) -> tuple[object, ...]:
    """Return a transfer as `keyvault sign` takes it."""
    fees = ("--max-fee", "30 gwei", "--max-priority-fee", "1 gwei", "--gas", 21000)
    return ("evm-tx", "--key", key, "--chain-id", 1, "--nonce", nonce, "--to", to, "--value", value, *fees)


def size_of(keyvault: Run) -> int:
    """Return how many entries the ledger has."""
    return len(document_of(keyvault("audit", "show", "--live", "--count", 1000, "--json"))["entries"])


def rules(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the outcomes by rule."""
    return {each["rule"]: each for each in document["outcomes"]}


def test_a_server_says_what_it_would_decide(keyvault: Run) -> None:
    """Online the verdict, the meaning and every rule's outcome come back, and the ledger is as it was."""
    before = size_of(keyvault)
    document = document_of(keyvault("policy", "explain", "--json", *transfer()))
    assert (document["verdict"], document["rules"]) == ("allow", ["transfers"])
    assert document["summary"][0].startswith("Sends 1 native coin")
    assert rules(document)["transfers"]["permits"] is True
    shown = keyvault("policy", "explain", *transfer(to=BAD))
    assert shown.exit_code == 0, shown.stderr
    assert "verdict  DENY" in shown.stdout
    assert "destination" in shown.stdout
    assert size_of(keyvault) == before


def test_json_is_taken_on_either_side(keyvault: Run) -> None:
    """--json of `explain` and --json among the options of the payload do the same."""
    left = document_of(keyvault("policy", "explain", "--json", *transfer()))
    right = document_of(keyvault("policy", "explain", *transfer(), "--json"))
    assert left["outcomes"] == right["outcomes"]


def test_an_auditor_asks_for_anybody_and_a_bot_does_not(keyvault: Run) -> None:
    """--principal names who would ask; a bot that names another is refused."""
    asked = ("policy", "explain", "--principal", MAKER, *transfer())
    assert keyvault(*asked, "--as", "auditor/demo").exit_code == 0
    refused = keyvault(*asked, "--as", "bot/demo")
    assert refused.exit_code == 1
    assert "may ask about itself only" in refused.stderr


def test_a_policy_alone_is_asked_offline(offline: Run, policy_file: Path) -> None:
    """With --policy no server and no key are needed; outcomes are those of the file."""
    asked = ("policy", "explain", "--policy", policy_file, "--principal", MAKER, "--json")
    document = document_of(offline(*asked, *transfer()))
    assert (document["verdict"], document["policy_version"]) == ("allow", 2)
    large = document_of(offline(*asked, *transfer(key="asked", value="3 ether")))
    assert (large["verdict"], large["quorums"]) == ("escalate", ["1 of everybody"])
    limited = document_of(offline(*asked, *transfer(key="limited")))
    assert [(each["limit"], each["used"], each["cap"], each["asked"]) for each in limited["limits"]] == [
        ("slow", "0", "1", "1")
    ]


def test_offline_somebody_must_ask(offline: Run, policy_file: Path) -> None:
    """Without a server nobody knows who asks: --principal is needed."""
    result = offline("policy", "explain", "--policy", policy_file, *transfer())
    assert result.exit_code == 2
    assert "--principal" in result.stderr


def test_a_copy_of_the_ledger_is_asked(keyvault: Run, offline: Run, desk: Deployment) -> None:
    """--ledger decides by what the ledger says: keys, policy, what was used; --policy puts a draft in its place."""
    assert keyvault("sign", *transfer(key="limited", nonce=11)).exit_code in (0, 1)  # another test may have used it up
    ledger = desk.dir / "ledger.db"
    asked = ("policy", "explain", "--ledger", ledger, "--principal", MAKER, "--json")
    document = document_of(offline(*asked, *transfer(key="limited", nonce=12)))
    assert (document["verdict"], document["reason"]) == ("deny", "LIMIT_EXCEEDED")
    unknown = offline(*asked, *transfer(key="nobody"))
    assert unknown.exit_code == 2
    assert "has no key nobody" in unknown.stderr


def test_an_entry_says_why(keyvault: Run, offline: Run, desk: Deployment, policy_file: Path) -> None:
    """--index explains what an entry recorded, by the policy of its time; --policy puts a draft in its place."""
    refused = keyvault("sign", *transfer(to=BAD, nonce=21))
    assert refused.exit_code == 1
    ledger = desk.dir / "ledger.db"
    entries = document_of(offline("audit", "show", ledger, "--count", 10_000, "--json"))["entries"]
    index = max(each["index"] for each in entries if each["kind"] == "signature_refused")
    document = document_of(offline("policy", "explain", "--ledger", ledger, "--index", index, "--json"))
    assert (document["verdict"], document["reason"]) == ("deny", "NO_RULE_ALLOWS")
    assert rules(document)["transfers"]["matches"] is False
    policy_file.write_text(policy_file.read_text().replace(GOOD, BAD))
    again = document_of(
        offline("policy", "explain", "--ledger", ledger, "--policy", policy_file, "--index", index, "--json")
    )
    assert again["verdict"] == "allow"
    other = offline("policy", "explain", "--ledger", ledger, "--index", 0)
    assert other.exit_code == 2
    assert "is no decision about a payload" in other.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("--index", 3), ("--index", 3, "--ledger", "x", *transfer())],
)
def test_what_is_asked_must_be_clear(offline: Run, arguments: tuple[object, ...]) -> None:
    """Neither a payload nor an entry, or both, is a usage error."""
    assert offline("policy", "explain", *arguments).exit_code == 2


def test_a_psbt_is_not_signed_instead(keyvault: Run, tmp_path: Path) -> None:
    """What `keyvault sign` does in several steps is refused, and nothing is sent."""
    before = size_of(keyvault)
    file = tmp_path / "x.psbt"
    file.write_text("cHNidP8=")
    result = keyvault("policy", "explain", "psbt", "--key", "desk", file)
    assert result.exit_code == 2
    assert "signs several payloads at once" in result.stderr
    assert size_of(keyvault) == before


def test_quota_shows_what_is_left(keyvault: Run) -> None:
    """Every limit about the key comes with used, cap and window; a key without limits says so."""
    document = document_of(keyvault("policy", "quota", "limited", "--json"))
    (slow,) = document["limits"]
    assert (slow["limit"], slow["per"], slow["group"], slow["measure"], slow["cap"]) == (
        "slow", "key", "limited", "count", "1"
    )  # fmt: skip
    assert "slow" in keyvault("policy", "quota", "limited").stdout


def test_amounts_are_shown_in_whole_units_where_they_are_known() -> None:
    """Ether and its like, and everything at a venue, have 18 decimals; of tokens nobody knows them."""
    limits = (
        Limit(id="ether", keys=ANY, window_ms=1_000, amount_max=1, chain_id=1),
        Limit(id="coin", keys=ANY, window_ms=1_000, amount_max=1, venue="kraken", asset="XBT"),
        Limit(id="token", keys=ANY, window_ms=1_000, amount_max=1, chain_id=1, asset="0x" + "70" * 20),
    )
    quotas = tuple(
        Quota(limit=each.id, per=Per.KEY, group="k", measure=Measure.AMOUNT, used=15 * 10**17, cap=10**18, window_ms=9)
        for each in limits
    )
    lines = [" ".join(line.split()) for line in quota_table(quotas, limits).splitlines()[1:]]
    assert lines == [
        "ether key k 1.5 1 ether 9ms",
        "coin key k 1.5 1 XBT 9ms",
        "token key k 1500000000000000000 1000000000000000000 smallest units 9ms",
    ]
    assert "smallest units" in quota_table(quotas[:1])


def test_a_quota_of_nobody_is_not_found(keyvault: Run) -> None:
    """A key that is not there has no limits."""
    assert keyvault("policy", "quota", "nobody").exit_code == 3
