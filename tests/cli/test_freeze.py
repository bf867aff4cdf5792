from collections.abc import Callable

import pytest
from click.testing import Result

from tests.cli.conftest import carried_out, document_of

Run = Callable[..., Result]
DIGEST = "0x" + "11" * 32


def frozen(keyvault: Run) -> list[tuple[str, str]]:
    listed = document_of(keyvault("freeze", "list", "--json"))["freezes"]
    return [(each["scope"], each["name"]) for each in listed]


@pytest.mark.parametrize(
    ("scope", "name"),
    [("key", "desk-ed"), ("principal", "spiffe://keyvault.local/bot/nobody"), ("venue", "binance")],
)
def test_one_member_freezes_and_two_lift_it(keyvault: Run, scope: str, name: str) -> None:
    """Any member with a voice stops something alone, at once; it takes another member to go on."""
    carried_out(keyvault("freeze", scope, name, "--member", "carol", "--json"))
    assert (scope, name) in frozen(keyvault)
    assert name in keyvault("freeze", "list").stdout
    alone = document_of(keyvault("thaw", scope, name, "--json"))["proposal"]
    assert alone["state"] == "OPEN"
    assert (scope, name) in frozen(keyvault)
    carried_out(keyvault("thaw", scope, name, "--approve-with", "carol", "--json"))
    assert (scope, name) not in frozen(keyvault)


def test_what_is_frozen_signs_nothing(keyvault: Run) -> None:
    """A frozen key is refused with the reason; once it is thawed the same question is answered by policy again."""
    carried_out(keyvault("freeze", "key", "desk", "--json"))
    refused = keyvault("sign", "digest", "--key", "desk", DIGEST)
    assert refused.exit_code == 1
    assert "Refused (FROZEN): key desk is frozen" in refused.stderr
    carried_out(keyvault("thaw", "key", "desk", "--approve-with", "bob", "--json"))
    assert "Refused (NO_RULE_ALLOWS)" in keyvault("sign", "digest", "--key", "desk", DIGEST).stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("venue", "nowhere"), 2), (("principal", "bob"), 2), (("key", "Not A Key"), 2), (("key", "nobody"), 3)],
)
def test_what_is_not_there_is_not_frozen(keyvault: Run, arguments: tuple[str, ...], code: int) -> None:
    """A freeze of what is no key, principal or venue would stop nothing, so it is refused."""
    assert keyvault("freeze", *arguments).exit_code == code


def test_the_whole_enclave_has_no_name(keyvault: Run) -> None:
    """`freeze enclave` takes no name, in either direction."""
    assert keyvault("freeze", "enclave", "hot").exit_code == 2
    assert keyvault("thaw", "enclave", "hot").exit_code == 2


def test_a_stranger_freezes_nothing(keyvault: Run) -> None:
    """An auditor's certificate opens no door for it, and nothing is frozen."""
    before = frozen(keyvault)
    assert keyvault("freeze", "key", "limited", "--as", "auditor/demo").exit_code == 1
    assert frozen(keyvault) == before
