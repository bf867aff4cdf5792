"""The auditor: with the log's key and a file, trusting neither the server nor its operators."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from keyvault.client import SignedTransaction
from keyvault.core.events import SignatureIssued
from keyvault.demo import inputs
from keyvault.demo.record import Record
from keyvault.demo.scratch import DemoFailed, Deployment, command
from keyvault.ledger import note, proof
from keyvault.ledger.codec import decode

_OK, _PROBLEMS = 0, 1
_SHOWN = 1
"""Problems that are told of those that an audit finds."""


async def prove(made: Deployment, transfer: SignedTransaction, record: Record) -> None:
    """Get the proof that the first transfer is in the ledger, and verify it under the pinned key."""
    async with made.client("auditor-demo") as auditor:
        found = await auditor.inclusion_proof(transfer.ledger_index)
    index, covering = proof.verify_proof(found.text, found.entry, note.parse_vkey(made.log_vkey))
    event = decode(found.entry)
    record.say("proof", f"{len(found.text)} bytes of C2SP tlog-proof: entry {index} of {covering.size}")
    signature = event.signature.value if isinstance(event, SignatureIssued) else b""
    held = (index, signature) == (transfer.ledger_index, transfer.signature)
    record.check("the first transfer is provably in the ledger, with the signature that the bot got", held=held)


def verify(made: Deployment, record: Record) -> None:
    """Recompute everything from the database file, offline, with the auditor's program."""
    began = time.monotonic()
    found = _audit(made.ledger, made.log_vkey)
    seconds = time.monotonic() - began
    entries, covered = int(found["entries"]), int(found["covered"])
    record.say("program", "python -m keyvault.ledger verify: needs the file and the log's key, no network")
    record.say("entries", f"{entries}, of which {covered} under a signed checkpoint")
    record.check("nothing is wrong with the ledger", held=bool(found["ok"]) and found["replayed"] == entries)
    record.check("a checkpoint covers every entry", held=covered == entries)
    record.figure("entries verified offline", entries)
    record.figure("signatures verified offline", int(found["signatures_verified"]))
    record.figure("seconds for that", round(seconds, 2))


def flip_a_bit(made: Deployment, transfer: SignedTransaction, record: Record) -> None:
    """Change one bit of a copy: where the first transfer says whom it pays."""
    copy = made.folder / "tampered.db"
    shutil.copyfile(made.ledger, copy)
    unsigned = inputs.FIRST.unsigned
    place = _place_of(copy, unsigned) + unsigned.index(bytes.fromhex(inputs.COLD_WALLET[2:]))
    with copy.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes((byte ^ 1,)))
    found = _audit(copy, made.log_vkey)
    problems = [each for each in found["problems"] if isinstance(each, dict)]
    record.say("changed", f"one bit of the address in entry {transfer.ledger_index}, in a copy of the file")
    for each in problems[:_SHOWN]:
        record.say("found", str(each["sentence"]))
    named = any(
        each["index"] is not None and each["index"] <= transfer.ledger_index <= (each["last"] or each["index"])
        for each in problems
    )
    record.check("the audit fails and names where", held=not found["ok"] and named)


def _audit(path: Path, log_vkey: str) -> dict[str, Any]:
    done = command("keyvault.ledger", "verify", str(path), "--log-vkey", log_vkey, "--json", expected=(_OK, _PROBLEMS))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _place_of(path: Path, data: bytes) -> int:
    place = path.read_bytes().find(data)
    if place < 0:
        raise DemoFailed(f"{path} does not hold the entry in one piece")
    return place
