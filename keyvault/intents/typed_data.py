"""EIP-712 typed data: the JSON object {types, primaryType, domain, message} that wallets take.

The digest is keccak256(0x1901 || hashStruct(domain) || hashStruct(message)).

JSON has many spellings of one value, so identical bytes are not asked for. Instead every spelling that is accepted has
exactly one value (``strict_json``, ``typed_values``), every type set has one encodeType (``typed_schema``), and the
facts are read from the very words that are hashed. What the contract will verify is therefore what policy judged:
primary type, verifying contract and chain. The message itself is not interpreted: completeness is PARTIAL.
"""

from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import strict_json
from keyvault.intents.keccak import keccak256
from keyvault.intents.signature import r_s_parity
from keyvault.intents.strict_json import Value
from keyvault.intents.typed_schema import FIELD, Member, Struct, Types, compile_schema, place

_ALGORITHMS = frozenset({KeyAlgorithm.SECP256K1})
_NAMES: Final = ("types", "primaryType", "domain", "message")
_MEMBER_NAMES = 2
_V = 27


def parse(payload: Payload, signer: Signer) -> Intent:  # noqa: ARG001 (every decoder has the same form)
    """Return the intent of typed data, or raise Malformed."""
    document = _document(payload.parts[0])
    primary = document["primaryType"]
    if not isinstance(primary, str):
        raise Malformed(f"{FIELD}.primaryType", "must be a string")
    schema = compile_schema(_types(document["types"]), primary)
    domain = _words(schema.domain, document["domain"], "domain")
    message = _words(schema.primary, document["message"], "message")
    digest = keccak256(b"\x19\x01" + schema.domain.hash_of(domain) + schema.primary.hash_of(message))
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=digest,
        effects=(_effect(schema.domain, domain, primary),),
        completeness=Completeness.PARTIAL,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 (as parse)
    """Return r || s || v, 65 bytes, v being 27 or 28."""
    _, _, parity = r_s_parity(signature)
    return Output(raw=signature.value + bytes((_V + parity,)))


def _document(data: bytes) -> dict[str, Value]:
    value = strict_json.loads(data, FIELD)
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


def _words(struct: Struct, value: Value, name: str) -> tuple[bytes, ...]:
    try:
        return struct.words(value)
    except Malformed as error:
        raise Malformed(".".join(filter(None, (FIELD, name, error.field))), error.problem) from None


def _effect(struct: Struct, words: tuple[bytes, ...], primary: str) -> Effect:
    facts = {name: word for (name, _), word in zip(struct.members, words, strict=True)}
    chain_id = int.from_bytes(facts["chainId"], "big")
    if chain_id == 0:
        raise Malformed(f"{FIELD}.domain.chainId", "is 0: name the one chain on which the signature shall be valid")
    return Effect(
        operation=Operation.TYPED_DATA,
        chain_id=chain_id,
        destination="0x" + facts["verifyingContract"][12:].hex(),
        primary_type=primary,
    )
