"""`keyvault policy fields`: what a policy file can say, as the program reads it."""

from collections.abc import Callable

import pytest
from click.testing import Result

from keyvault.cli import policy_fields
from keyvault.cli.policy_file import LIMIT_FIELDS, POLICY_FIELDS, RULE_FIELDS, PolicyFileError, parse_policy
from keyvault.cli.policy_prices_file import PRICES_FIELDS
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy_findings import FIELD_WORDS
from keyvault.core.policy_kinds import KIND_OPERATIONS, asked
from keyvault.core.policy_rules import Per
from tests.cli.conftest import document_of

Run = Callable[..., Result]


def test_every_field_has_its_sentence() -> None:
    """No field is left out, none is told that does not exist."""
    assert tuple(policy_fields.OF_POLICY) == POLICY_FIELDS
    assert tuple(policy_fields.OF_RULE) == RULE_FIELDS
    assert tuple(policy_fields.OF_LIMIT) == LIMIT_FIELDS
    assert tuple(policy_fields.OF_PRICES) == PRICES_FIELDS
    assert policy_fields.OF_PER.keys() == set(Per)


@pytest.mark.parametrize(
    ("section", "field", "example"),
    [("rules", field, example) for field, (example, _) in policy_fields.OF_RULE.items()]
    + [("limits", field, example) for field, (example, _) in policy_fields.OF_LIMIT.items()],
)
def test_every_example_can_be_read(section: str, field: str, example: str) -> None:
    """The parser of policy files has nothing to say about any example by itself."""
    head = "version: 1\nlists: {cold: [bc1qhome]}\ntags: {desk: [eth-mm-1]}\n"
    with pytest.raises(PolicyFileError) as raised:  # a rule or limit with one field is not whole
        parse_policy(f"{head}{section}:\n  - {{x: 1}}\n  - {field}: {example}\n", name="p")
    about = [each for each in raised.value.problems if each.startswith("p:6:") and f" {field}:" in each]
    assert about == []


def test_what_an_operation_needs_is_what_the_lint_asks_for() -> None:
    """For every kind and operation: the very conditions without which an allow rule never matches."""
    for operation in Operation:
        told = {kind: set(needed) for needed, kinds in policy_fields.must_say(operation).items() for kind in kinds}
        assert told == {
            kind: {FIELD_WORDS.get(field, field) for field in asked(kind, operation)}
            for kind in PayloadKind
            if operation in KIND_OPERATIONS[kind]
        }


def test_the_command_prints_all_of_it(offline: Run) -> None:
    """For people as tables, and as JSON; the group's help names it."""
    document = document_of(offline("policy", "fields", "--json"))
    assert set(document["rule"]) == set(RULE_FIELDS)
    assert document["kinds"]["kraken-fix-logon"] == ["session"]
    assert {"must_say": ["venues"], "kinds": ["binance-rest"]}["must_say"] == ["venues"]
    text = offline("policy", "fields").stdout
    assert all(word in text for word in (*RULE_FIELDS, *LIMIT_FIELDS, *(kind.value for kind in PayloadKind)))
    assert "keyvault policy fields" in offline("policy", "--help").stdout


def test_orders_and_cancels_that_are_typed_data_say_their_contract() -> None:
    """A rule written by this table allows CoW's: chain, contract and type hash, and of an order what is given."""
    pins = {"chains", "contracts", "type_hashes"}
    assert asked(PayloadKind.TYPED_DATA, Operation.ORDER) == pins | {"assets", "amount_max"}
    assert asked(PayloadKind.TYPED_DATA, Operation.CANCEL) == pins
