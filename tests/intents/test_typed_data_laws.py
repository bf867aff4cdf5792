"""EIP-712 against eth-account as oracle: random documents, mutations, and noise."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from tests.intents.building import MAIL, digest_by_eth_account, mail, members, one_value, text, typed_data
from tests.intents.typed_building import parse, refused

ATOMS: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("uint8", st.integers(0, 255)),
    ("uint256", st.integers(0, 2**256 - 1)),
    ("int64", st.integers(-(2**63), 2**63 - 1)),
    ("bool", st.booleans()),
    ("address", st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex())),
    ("bytes7", st.binary(min_size=7, max_size=7).map(lambda b: "0x" + b.hex())),
    ("bytes32", st.binary(min_size=32, max_size=32).map(lambda b: "0x" + b.hex())),
    ("bytes", st.binary(max_size=70).map(lambda b: "0x" + b.hex())),
    ("string", st.text("aé漢\U0001f42e \"\\{[,'\n", max_size=12)),
]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return a valid document with random structs, each of which may hold those after it, and matching values."""
    count = draw(st.integers(1, 4))
    names = draw(st.permutations(["Zeta", "Alpha", "_m", "B2"]))[:count]
    types: dict[str, list[dict[str, str]]] = {}
    values: dict[str, st.SearchStrategy[Any]] = {}
    for index in reversed(range(count)):
        below = [(name, values[name]) for name in names[index + 1 : index + 2]]
        chosen = [*below, *draw(st.lists(st.sampled_from([*ATOMS, *below]), min_size=1, max_size=4))]
        shaped = [draw(_arrays(name, value)) for name, value in chosen]
        types[names[index]] = members(*(f"{name} m{n}" for n, (name, _) in enumerate(shaped)))
        values[names[index]] = st.fixed_dictionaries({f"m{n}": value for n, (_, value) in enumerate(shaped)})
    document = one_value("bool", value=True)
    domain = document["types"]["EIP712Domain"]
    return {
        **document,
        "types": {"EIP712Domain": domain, **types},
        "primaryType": names[0],
        "message": draw(values[names[0]]),
    }


@st.composite
def _arrays(draw: st.DrawFn, name: str, value: st.SearchStrategy[Any]) -> tuple[str, st.SearchStrategy[Any]]:
    """Return the type and its values, perhaps in one or two dimensions of array."""
    for size in draw(st.lists(st.sampled_from([None, 1, 2]), max_size=2)):
        name += "[]" if size is None else f"[{size}]"
        value = st.lists(value, min_size=size or 0, max_size=size or 2)
    return name, value


@given(documents())
def test_digest_is_that_of_eth_account(document: dict[str, Any]) -> None:
    """Structs, arrays and all atomic types hash as in eth-account, whatever the document's spelling of JSON."""
    expected = digest_by_eth_account(document)
    assert parse(typed_data(document)).signing_input == expected
    assert parse(text(json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True))).signing_input == expected


TOKENS = [
    '"Mail"',
    '"Person"',
    '"from"',
    "null",
    "true",
    "1",
    "-1",
    '"1"',
    '""',
    "{}",
    "[]",
    ",",
    ":",
    "{",
    "]",
    '"',
    "\\",
    "0x",
]


@given(
    st.lists(
        st.tuples(st.integers(0, len(MAIL)), st.integers(0, 12), st.sampled_from(["", *TOKENS])), min_size=1, max_size=2
    )
)
def test_mutations_are_malformed_or_mean_what_eth_account_reads(changes: list[tuple[int, int, str]]) -> None:
    """A changed document is refused, or has the digest that eth-account computes from it."""
    mutated = MAIL
    for place, length, token in changes:
        mutated = mutated[:place] + token + mutated[place + length :]
    try:
        intent = parse(text(mutated))
    except Malformed:
        return
    document = json.loads(mutated)
    assert intent.signing_input == digest_by_eth_account(document)
    (effect,) = intent.effects
    assert effect.destination == document["domain"]["verifyingContract"].lower()
    assert effect.primary_type == document["primaryType"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda v: (
            st.lists(v) | st.dictionaries(st.sampled_from(["types", "domain", "message", "name", "EIP712Domain"]), v)
        ),
        max_leaves=12,
    )
)
def test_noise_is_malformed(value: Any) -> None:  # noqa: ANN401 - any JSON
    """Arbitrary JSON, alone and in the place of each part of a document, never crashes the decoder."""
    refused(typed_data(value))
    for name in ("types", "domain", "message"):
        refused(typed_data(mail(**{name: value})))
