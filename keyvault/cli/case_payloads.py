"""Payloads as people write them in cases: parts as they are, or the fields of common kinds.

parts         a value, or a list of them. ``0x`` and hex are bytes; ``file:NAME`` is a file beside the cases, as it is;
              ``text:...`` is what follows, even if it looks like hex; everything else is text, UTF-8
evm           fields of an EIP-1559 transaction: chain_id, nonce, to, value, gas, max_fee, max_priority_fee, data
typed_data    {types, primaryType, domain, message}, or for short {type, domain, message}: ``type`` is what EIP-712
              calls encodeType, and the types are read from it
exchange      venue, method, path, uri, query, body, account, address: those that the venue's REST requests have

In typed data a plain word of digits is a number, true and false are truth values; what stands in quotes is text.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from keyvault.cli.evm_fields import Fields, unsigned_transaction
from keyvault.cli.params import parse_hex
from keyvault.cli.policy_units import parse_amount, parse_whole
from keyvault.cli.yaml_nodes import Problems, meant, pairs, scalar, table
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.policy_values import AMOUNT_MAX

FORMS: Final = ("parts", "evm", "typed_data", "exchange")
"""Fields that a payload can stand in; one of them."""

_EVM_FIELDS = ("chain_id", "nonce", "to", "value", "gas", "max_fee", "max_priority_fee", "data")
_EXCHANGES: Final[Mapping[str, tuple[PayloadKind, tuple[str, ...]]]] = {
    "binance": (PayloadKind.BINANCE_REST, ("query", "body")),
    "bybit": (PayloadKind.BYBIT_REST, ("method", "path", "query", "body", "account")),
    "okx": (PayloadKind.OKX_REST, ("method", "path", "query", "body", "account")),
    "coinbase": (PayloadKind.COINBASE_JWT, ("method", "path", "query", "body", "account")),
    "kraken": (PayloadKind.KRAKEN_REST, ("path", "body", "account")),
    "deribit": (PayloadKind.DERIBIT_REST, ("method", "uri", "body", "account")),
    "polymarket": (PayloadKind.POLYMARKET_REST, ("method", "path", "body", "account", "address")),
}
_EXCHANGE_FIELDS = ("venue", "method", "path", "uri", "query", "body", "account", "address")
_DOMAIN_TYPES = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,77})", re.ASCII)
_STRUCT = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]*)\(([^()]*)\)", re.ASCII)
_JSON_INTEGER_MAX = 2**53 - 1

Json = str | int | bool | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cases stand: payloads can be files beside them."""

    folder: Path
    problems: Problems


def read_payload(kind: PayloadKind | None, form: str, node: yaml.Node, place: Place) -> Payload | None:
    """Return the payload that stands under the name ``form``; None after noting what is wrong with it."""
    match form:
        case "evm":
            data = _evm(node, place.problems)
            return None if data is None else Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(data,))
        case "typed_data":
            text = _typed_data(node, place.problems)
            return None if text is None else Payload(kind=PayloadKind.TYPED_DATA, parts=(text,))
        case "exchange":
            return _exchange(node, place.problems)
        case _:
            return _whole(kind, node, place)


def _whole(kind: PayloadKind | None, node: yaml.Node, place: Place) -> Payload | None:
    if kind is None:
        place.problems.add(node.start_mark, "parts need a kind: add kind: evm-transaction")
        return None
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    parts = [_part(each, place) for each in nodes]
    found = tuple(part for part in parts if part is not None)
    return Payload(kind=kind, parts=found) if len(found) == len(parts) else None


def _part(node: yaml.Node, place: Place) -> bytes | None:
    if isinstance(node, yaml.ScalarNode) and node.value == "":
        return b""
    return scalar("parts", node, lambda text: _bytes(text, place.folder), place.problems)


def _bytes(text: str, folder: Path) -> bytes:
    if text.startswith("0x"):
        return parse_hex(text)
    if text.startswith("file:"):
        return _file(folder / text.removeprefix("file:"))
    return text.removeprefix("text:").encode("utf-8", "surrogatepass")


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limits.PAYLOAD_BYTES_MAX + 1)
    except OSError as error:
        raise Malformed("parts", f"{path}: {error.strerror}") from None


# EVM transactions -------------------------------------------------------------------------------------------------


def _evm(node: yaml.Node, problems: Problems) -> bytes | None:
    before = len(problems.found)
    fields = table("evm", node, _EVM_FIELDS, problems)
    transaction = Fields(
        chain_id=fields.read("chain_id", _whole_number, needed="chain_id: 1") or 0,
        nonce=fields.read("nonce", _whole_number) or 0,
        to=fields.read("to", str, needed="to: 0x...") or "",
        value=fields.read("value", parse_amount) or 0,
        gas=fields.read("gas", _whole_number, needed="gas: 21000") or 0,
        max_fee=fields.read("max_fee", parse_amount, needed="max_fee: 30 gwei") or 0,
        max_priority_fee=fields.read("max_priority_fee", parse_amount) or 0,
        data=fields.read("data", parse_hex) or b"",
    )
    if len(problems.found) > before:
        return None
    try:
        return unsigned_transaction(transaction)
    except Malformed as malformed:
        problems.add(node.start_mark, f"evm: to {malformed.problem}")
        return None


def _whole_number(text: str) -> int:
    return parse_whole(text, least=0, most=AMOUNT_MAX)


# Typed data -------------------------------------------------------------------------------------------------------


def _typed_data(node: yaml.Node, problems: Problems) -> bytes | None:
    before = len(problems.found)
    value = _json(node, problems)
    if len(problems.found) > before:
        return None
    if isinstance(value, dict) and "type" in value:
        try:
            value = _written_out(value)
        except Malformed as malformed:
            problems.add(node.start_mark, f"typed_data: {malformed.problem}")
            return None
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _json(node: yaml.Node, problems: Problems) -> Json:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _json(value, problems) for key, value in pairs("typed_data", node, problems, "a table")}
    if isinstance(node, yaml.SequenceNode):
        return [_json(each, problems) for each in node.value]
    text = str(node.value)
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return text
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text) and abs(int(text)) <= _JSON_INTEGER_MAX:
        return int(text)
    return text


def _written_out(value: dict[str, Json]) -> dict[str, Json]:
    """Return the four members of typed data; raise Malformed unless there are type, domain and message."""
    text, domain = value.get("type"), value.get("domain")
    if set(value) != {"type", "domain", "message"} or not isinstance(text, str) or not isinstance(domain, dict):
        raise Malformed("typed_data", "must have type, domain and message; or types, primaryType, domain and message")
    structs: dict[str, Json] = {name: _members(members) for name, members in _STRUCT.findall(text)}
    if not structs or _STRUCT.sub("", text):
        raise Malformed("typed_data", "type must be as EIP-712 hashes it: Permit(address owner,...)")
    own: list[Json] = [{"name": name, "type": kind} for name, kind in _DOMAIN_TYPES.items() if name in domain]
    return {
        "types": {"EIP712Domain": own, **structs},
        "primaryType": next(iter(structs)),
        "domain": domain,
        "message": value["message"],
    }


def _members(text: str) -> list[Json]:
    found: list[Json] = []
    for member in filter(None, text.split(",")):
        kind, _, name = member.partition(" ")
        found.append({"name": name, "type": kind})
    return found


# Exchange requests ------------------------------------------------------------------------------------------------


def _exchange(node: yaml.Node, problems: Problems) -> Payload | None:
    fields = table("exchange", node, _EXCHANGE_FIELDS, problems)
    known = fields.read("venue", _venue, needed="venue: binance")
    if known is None:
        return None
    kind, names = known
    parts = {name: _text(name, value, problems) for name, value in fields.values.items() if name != "venue"}
    for name in parts.keys() - set(names):
        problems.add(fields.values[name].start_mark, f"{kind} has no {name}: there is {', '.join(names)}")
    return Payload(kind=kind, parts=tuple(parts.get(name, b"") for name in names))


def _venue(text: str) -> tuple[PayloadKind, tuple[str, ...]]:
    found = _EXCHANGES.get(text)
    if found is None:
        raise Malformed("venue", f"unknown venue {text[:80]!r}{meant(text, tuple(_EXCHANGES))}")
    return found


def _text(name: str, node: yaml.Node, problems: Problems) -> bytes:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value).encode("utf-8", "surrogatepass")
    problems.add(node.start_mark, f"{name} must be a text: write JSON in single quotes")
    return b""
