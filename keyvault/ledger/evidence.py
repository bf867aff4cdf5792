"""Bundles of evidence: one file that shows who approved one thing, to anybody who has the log's key and nothing else.

A bundle is canonical JSON (protos/README.md, "Evidence"): the entries of an ``account``, each with its proof of
inclusion in one checkpoint, that checkpoint, and every word of a member once more as a DSSE envelope of its own, which
any DSSE tool can verify. What can be derived from the entries is derived again and must be in the file to the last
byte, so that a file that was changed anywhere is refused.

What is shown: the log key signed a checkpoint over a ledger that begins with this genesis and has these entries in this
order; from the genesis on, each charter came about by the rules of the one before; the members of the charter in force
approved what the last entry did. What cannot be shown is law 4 of ``account``.
"""

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keyvault.core import limits
from keyvault.core.approvals import payload_type
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import Genesis
from keyvault.ledger.account import Account, Said, replay
from keyvault.ledger.checkpoint import Checkpoint, is_same_log, open_in_any, origin, split_origin
from keyvault.ledger.codec import decode
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import leaf_hash, verify_inclusion
from keyvault.ledger.note import Verifier, decode_base64, verifier

TYPE = "keyvault/evidence/v1"
_PEM_COLUMNS = 64
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """An entry, where it stands, and the hashes that show it, from the leaf's sibling up."""

    index: int
    body: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Entries under the checkpoint of ``note``, in their order; the last is the subject. Nothing is verified."""

    note: bytes
    entries: tuple[Proven, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a bundle shows: the account, and the checkpoint that covers it."""

    account: Account
    checkpoint: Checkpoint


def check_evidence(data: bytes, key: Verifier) -> Evidence:
    """Return what the bundle shows under this log key; raise Malformed if it is none, Unproven if it does not hold."""
    bundle = parse_bundle(data)
    covering = open_in_any(bundle.note, key)
    _check_genesis(bundle.entries[0], key)
    for each in bundle.entries:
        _check_inclusion(each, covering)
    account = replay([(each.index, each.body) for each in bundle.entries])
    if split_origin(covering.origin)[1] < account.incarnation:
        raise Unproven(
            f"the ledger is in incarnation {account.incarnation}, its checkpoint of the name {covering.origin}"
        )
    if format_bundle(bundle, account) != data:
        raise Unproven(
            "the bundle says something else than its entries, or is not in the one form that keyvault writes"
        )
    return Evidence(account=account, checkpoint=covering)


def _check_genesis(first: Proven, key: Verifier) -> None:
    """Raise Unproven unless entry 0 is the one whose hash the log's name holds, and gives this log key."""
    try:
        genesis = decode(first.body)
    except Corrupt as error:
        raise Unproven(f"entry 0: {error}") from error
    if first.index != 0 or not isinstance(genesis, Genesis):
        raise Unproven("the bundle does not begin with entry 0, the genesis")
    try:
        own = verifier(origin(genesis.enclave, leaf_hash(first.body)), genesis.log_public_key)
    except Malformed as error:
        raise Unproven(f"entry 0: {error}") from error
    if not is_same_log(own, key):
        raise Unproven(f"entry 0 gives the log key {own.vkey}, but {key.vkey} is expected")


def _check_inclusion(each: Proven, covering: Checkpoint) -> None:
    try:
        verify_inclusion(
            index=each.index, size=covering.size, leaf=leaf_hash(each.body), proof=each.proof, root=covering.root
        )
    except Unproven as error:
        raise Unproven(f"entry {each.index} is not shown to be in the ledger: {error}") from error


# Format -----------------------------------------------------------------------------------------------------------


def format_bundle(bundle: Bundle, account: Account) -> bytes:
    """Return the file; raise Malformed if it is longer than a bundle can be."""
    document = {
        "type": TYPE,
        "enclave": account.enclave,
        "subject": account.index,
        "checkpoint": bundle.note.decode(),
        "entries": [
            {"index": each.index, "entry": _base64(each.body), "proof": [_base64(hash_) for hash_ in each.proof]}
            for each in bundle.entries
        ],
        "envelopes": [_envelope(said, case.statement_bytes) for case in account.cases for said in case.said],
    }
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    if len(data) > limits.EVIDENCE_BYTES_MAX or len(bundle.entries) > limits.EVIDENCE_ENTRIES_MAX:
        raise Malformed(
            "evidence", f"more than {limits.EVIDENCE_BYTES_MAX} bytes, or {limits.EVIDENCE_ENTRIES_MAX} entries"
        )
    return data


def _envelope(said: Said, statement: bytes) -> dict[str, object]:
    """Return one word as a DSSE envelope (protocol v1, JSON), with where it stands and the key that verifies it."""
    return {
        "index": said.index,
        "member": said.member,
        "voice": said.voice.value,
        "public_key_pem": _pem(said.public_key),
        "envelope": {
            "payload": _base64(statement),
            "payloadType": payload_type(said.voice),
            "signatures": [{"keyid": said.signature.keyid, "sig": _base64(said.signature.sig)}],
        },
    }


def _pem(public_key: bytes) -> str:
    body = "\n".join(textwrap.wrap(_base64(public_key), _PEM_COLUMNS))
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse_bundle(data: bytes) -> Bundle:
    """Return checkpoint and entries, indices ascending, or raise Malformed. Nothing is verified."""
    if len(data) > limits.EVIDENCE_BYTES_MAX:
        raise Malformed("evidence", f"longer than {limits.EVIDENCE_BYTES_MAX} bytes")
    _check_depth(data)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("evidence", "not JSON") from None
    if not isinstance(document, Mapping) or document.get("type") != TYPE:
        raise Malformed("evidence", f"its type is not {TYPE}")
    entries = tuple(_proven(each) for each in _list(document, "entries", limits.EVIDENCE_ENTRIES_MAX))
    indices = [each.index for each in entries]
    if not entries or any(before >= after for before, after in pairwise(indices)):
        raise Malformed("evidence.entries", "must be there, each once, in the order of the ledger")
    try:
        note = _text(document, "checkpoint").encode()
    except UnicodeEncodeError:
        raise Malformed("evidence.checkpoint", "not Unicode") from None
    return Bundle(note=note, entries=entries)


def _check_depth(data: bytes) -> None:
    """Raise Malformed for nesting that no bundle has, before a parser's stack meets it. Brackets in text count, too."""
    brackets = data.translate(None, delete=_NO_BRACKETS)
    for _ in range(limits.EVIDENCE_DEPTH_MAX):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise Malformed("evidence", f"not JSON, or nested more than {limits.EVIDENCE_DEPTH_MAX} deep")


def _proven(item: object) -> Proven:
    if not isinstance(item, Mapping):
        raise Malformed("evidence.entries", "each must be an object")
    index = item.get("index")
    if type(index) is not int or not 0 <= index < 1 << 63:
        raise Malformed("evidence.entries.index", "must be the place of an entry, from 0")
    hashes = _list(item, "proof", limits.PROOF_HASHES_MAX)
    return Proven(
        index=index,
        body=decode_base64("evidence.entries.entry", _text(item, "entry")),
        proof=tuple(decode_base64("evidence.entries.proof", str(each)) for each in hashes),
    )


def _list(item: Mapping[str, object], name: str, most: int) -> Sequence[object]:
    found = item.get(name)
    if not isinstance(found, list) or len(found) > most:
        raise Malformed(f"evidence.{name}", f"must be an array of at most {most} elements")
    return found


def _text(item: Mapping[str, object], name: str) -> str:
    found = item.get(name)
    if not isinstance(found, str):
        raise Malformed(f"evidence.{name}", "must be text")
    return found
