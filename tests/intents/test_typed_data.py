"""EIP-712: the published example, eth-account as oracle, and everything that could be read in two ways."""

import copy
from typing import Any

import pytest
from eth_account import Account

from keyvault.core import limits
from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import keccak256
from keyvault.intents.typed_data import assemble
from tests.intents.building import (
    ADDRESS,
    MAIL,
    digest_by_eth_account,
    mail,
    members,
    one_value,
    sign,
    text,
    typed_data,
)
from tests.intents.typed_building import SIGNER, parse, refused

COW = keccak256(b"cow")
"""Private key of the example in EIP-712."""


def test_example_of_eip_712() -> None:
    """The Mail example gives its digest and, with the example's key, its signature."""
    intent = parse(typed_data(mail()))
    assert intent.signing_input.hex() == "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"
    assert assemble(typed_data(mail()), SIGNER, sign(intent.signing_input, COW)).raw.hex() == (
        "4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d"
        "07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b915621c"
    )


def test_facts() -> None:
    """A message that is not known states chain, contract, primary type and type hash, and nothing else."""
    intent = parse(typed_data(mail()))
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert intent.completeness is Completeness.PARTIAL
    type_text = b"Mail(Person from,Person to,string contents)Person(string name,address wallet)"
    expected = Effect(
        operation=Operation.TYPED_DATA,
        chain_id=1,
        destination="0x" + "cc" * 20,
        contract="0x" + "cc" * 20,
        primary_type="Mail",
        type_hash="0x" + keccak256(type_text).hex(),
    )
    assert intent.effects == (expected,)
    assert intent.binds == {Bound.CHAIN}
    assert (intent.slot, intent.stamped) == (None, False)
    assert (intent.issued_at, intent.not_before, intent.expires_at) == (None, None, None)


@pytest.mark.parametrize("signature", [Signature(value=bytes(63), recovery_id=0), Signature(value=b"\1" * 64)])
def test_signatures_of_another_form(signature: Signature) -> None:
    """A signature that is not r, s and a recovery id ends the term."""
    with pytest.raises(Broken):
        assemble(typed_data(mail()), SIGNER, signature)


def test_signs_like_eth_account() -> None:
    """The 65 bytes are those that eth-account returns."""
    signature = assemble(typed_data(mail()), SIGNER, sign(parse(typed_data(mail())).signing_input)).raw
    assert signature == bytes(Account.sign_typed_data("0x" + "46" * 32, full_message=mail()).signature)


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("uint256", [255, "255", "0xff", "0xFF"]),
        ("int16", [-2, "-2"]),
        ("address", ["0x" + "ab" * 20, "0x" + "AB" * 20, "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"]),
        ("bytes2", ["0xabcd", "0xABCD"]),
    ],
)
def test_spellings_of_one_value(type_name: str, values: list[Any]) -> None:
    """Every accepted spelling of a value gives the same digest, the one of eth-account."""
    digests = {parse(typed_data(one_value(type_name, value))).signing_input for value in values}
    assert digests == {digest_by_eth_account(one_value(type_name, values[0]))}


@pytest.mark.parametrize(
    ("type_name", "value", "problem"),
    [
        *[("uint256", v, "must be an integer") for v in ("+1", "01", " 1", "1 ", "0x", "0x01", "0X1", "1_0", "", "-0")],
        *[("uint256", v, "must be an integer") for v in ("\u0661", "0x-1", "1e3", "9" * 79)],
        ("uint256", True, "must be an integer"),
        ("uint256", None, "must be an integer"),
        ("uint256", [], "must be an integer"),
        ("uint256", {}, "must be an integer"),
        ("uint256", "0x1 ", "must be an integer"),
        ("uint8", 256, "out of the range of uint8"),
        ("uint8", -1, "out of the range of uint8"),
        ("uint256", "1" + "0" * 77, None),
        ("uint256", "9" * 78, "out of the range of uint256"),
        ("int8", 128, "out of the range of int8"),
        ("int8", -129, "out of the range of int8"),
        *[("bool", v, "must be true or false") for v in ("0", "false", "true", "")],
        ("bool", 0, "must be true or false"),
        ("bool", 1, "must be true or false"),
        ("bool", None, "must be true or false"),
        *[("bytes", v, "must be 0x and an even") for v in ("0x0", "00", "text", "0xzz", "0x00 ", "0X00", "0x00\n")],
        ("bytes", 1, "must be 0x and an even"),
        ("bytes", None, "must be 0x and an even"),
        ("bytes4", "0x010203", "bytes4 must have exactly 4"),
        ("bytes4", "0x0102030405", "bytes4 must have exactly 4"),
        ("address", "0x" + "35" * 19, "is not 0x and 40 hex digits"),
        ("address", "35" * 20, "is not 0x and 40 hex digits"),
        ("address", "0xABaBaBaBABabABabAbAbABAbABabababaBaBABab", "EIP-55"),
        ("address", 1, "must be an address"),
        ("string", 1, "must be a string"),
        ("string", "e\u0301", "normal form C"),
        ("uint8[]", "1", "must be an array"),
        ("uint8[2]", [1], "must have exactly 2"),
        ("uint8[2]", [1, 2, 3], "must have exactly 2"),
        ("uint8[999999999]", [], "must have exactly 999999999"),
    ],
)
def test_values_are_not_coerced(type_name: str, value: object, problem: str | None) -> None:
    """A22: a value that is not exactly of its type is refused at its place, never padded, cut or converted."""
    payload = typed_data(one_value(type_name, value))
    if problem is None:
        assert parse(payload).signing_input == digest_by_eth_account(one_value(type_name, value))
        return
    field, reason = refused(payload)
    assert field == "message.v"
    assert problem in reason


UNKNOWN_TYPES = """
uint int uint7 uint264 uint0 int08 bytes0 bytes33 byte function fixed128x18 Address uint8[0] uint8[01] uint8[-1]
uint8[ uint8] uint8[][ string,uint8 Bo)x uint8[1000000000] Bóx EIP712Domain
"""


@pytest.mark.parametrize("type_name", [*UNKNOWN_TYPES.split(), "", " uint8", "uint8 ", "uint8" + "[]" * 20])
def test_unknown_types(type_name: str) -> None:
    """A type that EIP-712 does not have and that is not defined is refused, whatever the value."""
    field, _ = refused(typed_data(one_value(type_name, 1)))
    assert field == "types.Box"


def _without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    return _with(document, *path)


def _with(document: dict[str, Any], *path: str, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return a copy in which the member at ``path`` is ``to``, or is gone."""
    changed = copy.deepcopy(document)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place.pop(path[-1], None)
    if "to" in values:
        place[path[-1]] = values["to"]
    return changed


DOMAIN = mail()["types"]["EIP712Domain"]
REFUSED: dict[str, tuple[object, str, str]] = {
    "list": ([], "", "must be a JSON object"),
    "no types": (_without(mail(), "types"), "types", "is missing"),
    "no domain": (_without(mail(), "domain"), "domain", "is missing"),
    "unknown name": (_with(mail(), "metadata", to={}), "metadata", "is unknown"),
    "primary type is a number": (mail(primaryType=1), "primaryType", "must be a string"),
    "primary type undefined": (mail(primaryType="Male"), "primaryType", "is not defined"),
    "primary type is the domain": (mail(primaryType="EIP712Domain"), "primaryType", "wallets disagree"),
    "A22 extra member": (_with(mail(), "message", "cc", to="x"), "message.cc", "is not a member of Mail"),
    "extra member with control characters": (
        _with(mail(), "message", "\x1b[2J\n", to="x"),
        "message.'\\x1b[2J\\n'",
        "is not a member of Mail",
    ),
    "A22 missing member": (_without(mail(), "message", "contents"), "message.contents", "is missing"),
    "A22 nested missing": (_without(mail(), "message", "to", "wallet"), "message.to.wallet", "is missing"),
    "A22 missing struct": (_with(mail(), "message", "to", to=None), "message.to", "must be an object"),
    "A22 extra domain": (_with(mail(), "domain", "salt", to="0x" + "00" * 32), "domain.salt", "is not a member"),
    "domain lacks a value": (_without(mail(), "domain", "name"), "domain.name", "is missing"),
    "chain 0": (_with(mail(), "domain", "chainId", to=0), "domain.chainId", "is 0"),
    "A22 chain with blank": (_with(mail(), "domain", "chainId", to="0x1 "), "domain.chainId", "must be an integer"),
    "types are a list": (mail(types=[]), "types", "must be an object"),
    "struct is an object": (_with(mail(), "types", "Mail", to={}), "types.Mail", "must be an array"),
    "struct is empty": (_with(mail(), "types", "Person", to=[]), "types.Person", "has no members"),
    "member with more": (
        _with(mail(), "types", "Person", to=[{"name": "a", "type": "bool", "x": "y"}]),
        "types.Person",
        "exactly name and type",
    ),
    "member type is a number": (
        _with(mail(), "types", "Person", to=[{"name": "a", "type": 1}]),
        "types.Person",
        "exactly name and type",
    ),
    "two members of one name": (
        _with(mail(), "types", "Person", to=members("string name", "address name")),
        "types.Person",
        "two members of one name",
    ),
    "member name is no identifier": (
        _with(mail(), "types", "Person", to=[{"name": "a,b", "type": "bool"}]),
        "types.Person",
        "is not an identifier",
    ),
    "unused struct": (_with(mail(), "types", "Permit", to=members("bool x")), "types.Permit", "is not used by Mail"),
    "undefined struct": (_without(mail(), "types", "Person"), "types.Mail", "neither atomic nor defined"),
    "struct named as an atomic type": (
        _with(mail(), "types", "uint256", to=members("bool x")),
        "types.uint256",
        "atomic type",
    ),
    "struct name is no identifier": (
        _with(mail(), "types", "A)B(", to=members("bool x")),
        "types.'A)B('",
        "must be an identifier",
    ),
    "no domain type": (_without(mail(), "types", "EIP712Domain"), "types.EIP712Domain", "must be defined"),
    "A22 no contract": (
        _with(mail(), "types", "EIP712Domain", to=DOMAIN[:3]),
        "types.EIP712Domain",
        "must have verifyingContract",
    ),
    "no chain": (
        _with(mail(), "types", "EIP712Domain", to=[DOMAIN[0], DOMAIN[3]]),
        "types.EIP712Domain",
        "must have chainId",
    ),
    "A22 no contract, for a type that other contracts verify": (
        {
            **mail(primaryType="Permit"),
            "types": {
                "EIP712Domain": DOMAIN[:3],
                "Permit": members(
                    "address owner", "address spender", "uint256 value", "uint256 nonce", "uint256 deadline"
                ),
            },
        },
        "types.EIP712Domain",
        "must have verifyingContract",
    ),
    "two colons in a struct's name": (
        _with(mail(), "types", "A:B:C", to=members("bool x")),
        "types.'A:B:C'",
        "must be an identifier",
    ),
    "a colon in a member's name": (
        _with(mail(), "types", "Person", to=members("string na:me", "address wallet")),
        "types.Person",
        "is not an identifier",
    ),
    "domain out of order": (
        _with(mail(), "types", "EIP712Domain", to=DOMAIN[::-1]),
        "types.EIP712Domain",
        "in this order",
    ),
    "domain of other types": (
        _with(mail(), "types", "EIP712Domain", to=members("uint64 chainId", "address verifyingContract")),
        "types.EIP712Domain",
        "in this order",
    ),
    "A22 domain in the message": (
        _with(mail(), "types", "Person", to=members("EIP712Domain name", "address wallet")),
        "types.Person",
        "neither atomic nor defined",
    ),
}


@pytest.mark.parametrize(("document", "field", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_documents_with_two_readings(document: object, field: str, problem: str) -> None:
    """A22: a document that two readers could understand differently is refused with place and reason."""
    found, reason = refused(typed_data(document))
    assert found == field
    assert problem in reason


@pytest.mark.parametrize("wrapped", ["Node", "Node[]", "Node[2]", "Leaf"])
def test_recursive_types(wrapped: str) -> None:
    """A struct that contains itself, directly, in an array or through another, is refused."""
    more = {"Node": members(f"{wrapped} next"), "Leaf": members("Node[] back")}
    if wrapped != "Leaf":
        del more["Leaf"]
    _, reason = refused(typed_data(one_value("Node", {}, more)))
    assert "contains itself" in reason


def test_types_are_bounded() -> None:
    """More structs, or structs nested deeper, than the limits allow are refused before anything is hashed."""
    wide = {f"S{n}": members("bool x") for n in range(limits.TYPED_DATA_TYPES_MAX)}
    assert "has more than 64 structs" in refused(typed_data(one_value("S0", {"x": True}, wide)))[1]
    deep = {f"S{n}": members(f"S{n + 1}[] x") for n in range(30)} | {"S30": members("bool x")}
    assert "structs are nested deeper" in refused(typed_data(one_value("S0", {"x": []}, deep)))[1]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not UTF-8 at byte 0"),
        ("\ufeff" + MAIL, "byte order mark"),
        (MAIL.encode("utf-16-le"), "is not"),
        (MAIL + "x", "is not JSON"),
        (MAIL.replace('"primaryType"', '"primaryType": "Mail", "primaryType"'), "stands twice"),
        (MAIL.replace('"contents": "H', '"contents": "", "c\\u006fntents": "H'), "stands twice"),
        (MAIL.replace('"chainId": 1', '"chainId": 1.0'), "'1.0' is not an integer"),
        (MAIL.replace('"chainId": 1', '"chainId": 1e0'), "'1e0' is not an integer"),
        (MAIL.replace('"chainId": 1', '"chainId": NaN'), "'NaN' is not an integer"),
        (MAIL.replace('"chainId": 1', '"chainId": -Infinity'), "'-Infinity' is not an integer"),
        (MAIL.replace('"chainId": 1', '"chainId": -0'), "-0 is not an integer"),
        (MAIL.replace('"chainId": 1', '"chainId": 01'), "is not JSON"),
        (MAIL.replace('"chainId": 1', '"chainId": ' + "9" * 5000), "more than 256 bits"),
        (MAIL.replace("Hello", "\\ud800"), "half of a surrogate pair"),
        (MAIL.replace("Hello", "\\udc00\\ud800"), "half of a surrogate pair"),
        (MAIL.replace("Hello", "a\nb"), "is not JSON"),
        ("[" * 1_000, "nested deeper"),
        ("[" * 20_000, "more than 1024 JSON values"),
        ('{"a":' * 1_000, "nested deeper"),
        ("[" + "0," * 1_024 + "0]", "has more than 1024 JSON values"),
        ('"' + '\\"' * 12_000, "is not JSON"),
        ('["' * 10_000, "more than 1024 JSON values"),
        ("]" * 20_000, "is not JSON"),
    ],
)
def test_json_with_two_readings(data: str | bytes, problem: str) -> None:
    """JSON that is not strict, or too deep or too wide, is refused: never a crash, never a second meaning."""
    assert problem in refused(text(data))[1]


def test_escapes_are_text() -> None:
    """Escapes that stand for text, pairs of surrogates and escaped backslashes included, hash as that text."""
    for written, meant in (("\\u0048i", "Hi"), ("\\ud83d\\udc2e", "\U0001f42e"), ("\\\\ud800", "\\ud800")):
        document = _with(mail(), "message", "contents", to=meant)
        payload = text(MAIL.replace("Hello, Bob!", written))
        assert parse(payload).signing_input == digest_by_eth_account(document)


def test_address_is_bound() -> None:
    """Two documents that differ in the contract only have different digests."""
    other = _with(mail(), "domain", "verifyingContract", to=ADDRESS)
    assert parse(typed_data(other)).signing_input != parse(typed_data(mail())).signing_input
