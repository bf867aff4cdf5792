"""EIP-712 typed data: the JSON object {types, primaryType, domain, message} that wallets take.

The digest is keccak256(0x1901 || hashStruct(domain) || hashStruct(message)).

JSON has many spellings of one value, so identical bytes are not asked for. Instead every spelling that is accepted has
exactly one value (``strict_json``, ``typed_values``), every type set has one encodeType (``typed_schema``), and each
fact comes from the reading that gave the word that is hashed. What the contract will verify is therefore what policy
judged.

Messages are understood by the type hash of their primary type, see ``typed_permits``, ``typed_safe``, ``typed_orders``,
``typed_auctions``, ``typed_sessions`` and ``typed_hyperliquid``. All others are TYPED_DATA, which policy may name by
contract, primary type and type hash; completeness is PARTIAL then. A domain must pin chain and contract, unless the
type is known to be verified without.
"""

from dataclasses import replace
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import Signature
from keyvault.intents import (
    strict_json,
    typed_auctions,
    typed_hyperliquid,
    typed_orders,
    typed_permits,
    typed_safe,
    typed_sessions,
)
from keyvault.intents.account import EVM_ALGORITHMS
from keyvault.intents.keccak import keccak256
from keyvault.intents.signature import r_s_parity
from keyvault.intents.strict_json import Value
from keyvault.intents.typed_message import Domain, Facts, Family, Meaning, Message, by_type_hash
from keyvault.intents.typed_schema import FIELD as FIELD  # the same place, whichever file refuses
from keyvault.intents.typed_schema import Member, Schema, Struct, Types, compile_schema, place
from keyvault.intents.typed_values import Fact

_NAMES: Final = ("types", "primaryType", "domain", "message")
_MEMBER_NAMES = 2
_V = 27
_DOMAIN_NEEDED = ("chainId", "verifyingContract")
_PINNED = frozenset(_DOMAIN_NEEDED)
_FAMILIES: dict[bytes, Family] = by_type_hash(
    (
        *typed_auctions.FAMILIES,
        *typed_hyperliquid.FAMILIES,
        *typed_orders.FAMILIES,
        *typed_permits.FAMILIES,
        *typed_safe.FAMILIES,
        *typed_sessions.FAMILIES,
    )
)
"""What is known, by type hash."""


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of typed data, or raise Malformed."""
    document = _document(payload.parts[0])
    primary = document["primaryType"]
    if not isinstance(primary, str):
        raise Malformed(f"{FIELD}.primaryType", "must be a string")
    schema = compile_schema(_types(document["types"]), primary)
    family = _FAMILIES.get(schema.primary.type_hash)
    _check_domain(schema, family)
    domain_hash, domain = _read(schema.domain, document["domain"], "domain")
    message_hash, facts = _read(schema.primary, document["message"], "message")
    message = _message(schema.primary, _domain(domain), facts, signer)
    meaning = (family.read(message) if family else None) or _unknown(message)
    if len(meaning.effects) > limits.EFFECTS_MAX:
        raise Malformed(f"{FIELD}.message", f"has more than {limits.EFFECTS_MAX} effects")
    return Intent(
        kind=payload.kind,
        algorithms=EVM_ALGORITHMS,
        signing_input=keccak256(b"\x19\x01" + domain_hash + message_hash),
        effects=meaning.effects,
        completeness=meaning.completeness,
        binds=meaning.binds | {Bound.CHAIN} if message.domain.chain_id else meaning.binds,
        not_before=meaning.not_before,
        expires_at=meaning.expires_at,
        slot=meaning.slot,
        decoder_version=3,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return r || s || v, 65 bytes, v being 27 or 28."""
    del payload, signer
    _, _, parity = r_s_parity(signature)
    return Output(raw=signature.value + bytes((_V + parity,)))


def _document(data: bytes) -> dict[str, Value]:
    value = strict_json.loads(data, FIELD, words=True)
    if not isinstance(value, dict):
        raise Malformed(FIELD, "must be a JSON object")
    for name in _NAMES:
        if name not in value:
            raise Malformed(f"{FIELD}.{name}", "is missing")
    for name in value:
        if name not in _NAMES:
            raise Malformed(f"{FIELD}.{place(name)}", f"is unknown: there are {', '.join(_NAMES)}")
    return value


def _types(value: Value) -> Types:
    """Return the type set as tuples, in the document's order."""
    if not isinstance(value, dict):
        raise Malformed(f"{FIELD}.types", "must be an object")
    return tuple((name, _members(name, members)) for name, members in value.items())


def _members(struct: str, value: Value) -> tuple[Member, ...]:
    field = f"{FIELD}.types.{place(struct)}"
    if not isinstance(value, list):
        raise Malformed(field, "must be an array of {name, type}")
    return tuple(_member(field, item) for item in value)


def _member(field: str, value: Value) -> Member:
    if isinstance(value, dict) and len(value) == _MEMBER_NAMES:
        name, type_name = value.get("name"), value.get("type")
        if isinstance(name, str) and isinstance(type_name, str):
            return name, type_name
    raise Malformed(field, "each member must be an object with exactly name and type, both strings")


def _check_domain(schema: Schema, family: Family | None) -> None:
    """Raise Malformed unless the domain pins chain and contract, or has the members of a family that does not."""
    if schema.domain_members >= _PINNED or (family and schema.domain_members in family.domains):
        return
    needed = next(name for name in _DOMAIN_NEEDED if name not in schema.domain_members)
    problem = f"must have {needed}: without it the signature is valid elsewhere too"
    raise Malformed(f"{FIELD}.types.EIP712Domain", problem)


def _read(struct: Struct, value: Value, name: str) -> tuple[bytes, dict[str, Fact]]:
    try:
        return struct.read(value)
    except Malformed as error:
        raise Malformed(".".join(filter(None, (FIELD, name, error.field))), error.problem) from None


def _domain(members: dict[str, Fact]) -> Domain:
    facts = Facts(members)
    chain_id = facts.integer("chainId") if "chainId" in members else None
    if chain_id == 0:
        raise Malformed(f"{FIELD}.domain.chainId", "is 0: name the one chain on which the signature shall be valid")
    return Domain(
        members=frozenset(members),
        name=facts.text("name") if "name" in members else None,
        version=facts.text("version") if "version" in members else None,
        chain_id=chain_id,
        contract=facts.address("verifyingContract") if "verifyingContract" in members else None,
    )


def _message(struct: Struct, domain: Domain, facts: dict[str, Fact], signer: Signer) -> Message:
    base = Effect(
        operation=Operation.TYPED_DATA,
        chain_id=domain.chain_id,
        contract=domain.contract,
        primary_type=struct.name,
        type_hash="0x" + struct.type_hash.hex(),
        fee_max=0,
    )
    return Message(domain=domain, facts=Facts(facts), base=base, type_hash=struct.type_hash, signer=signer)


def _unknown(message: Message) -> Meaning:
    """Return what is known of a message whose meaning is not: who verifies it. Its fee is not known either."""
    effect = replace(message.base, destination=message.base.contract, fee_max=None)
    return Meaning(effects=(effect,), completeness=Completeness.PARTIAL, binds=frozenset())
