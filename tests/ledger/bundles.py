"""Bundles of evidence for tests: genuine ones, and ones that a liar with the log key would write."""

import base64
import json

from keyvault.core.keys import KeyState
from keyvault.core.statements import Action
from keyvault.ledger.evidence import TYPE, Evidence, check_evidence
from keyvault.ledger.gather import evidence_of
from keyvault.ledger.merkle import leaf_hash
from tests.ledger.ledgers import Ledger, rulers, secp256k1_key


def begun() -> Ledger:
    ledger = Ledger()
    ledger.start()
    return ledger


def shown(ledger: Ledger, index: int) -> tuple[bytes, Evidence]:
    """Sign a checkpoint, bundle the evidence, and check it as somebody else would."""
    ledger.sign_checkpoint()
    data, _ = evidence_of(ledger, index=index, key=ledger.key)
    return data, check_evidence(data, ledger.key)


def case() -> tuple[Ledger, bytes, int]:
    """Return a ledger with a changed charter, a key that two proposals are about, and the bundle of the second."""
    ledger = begun()
    ledger.change_charter(rulers(ledger.alice, ledger.bob, ledger.carol, version=2))
    ledger.create_key("k1", secp256k1_key())
    ledger.sign_checkpoint()
    index = ledger.set_key_state("k1", KeyState.DISABLED)
    index = ledger.change(Action.KEY_ENABLE, {"key": "k1", "version": "1"}, approvers=(ledger.carol,))
    ledger.freeze()
    ledger.propose(Action.KEY_DESTROY, {"key": "k1", "version": "1", "after_days": "7"})
    ledger.sign_checkpoint()
    data, _ = evidence_of(ledger, index=index)
    return ledger, data, index


CASE, BUNDLE, INDEX = case()


def written(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def entry(ledger: Ledger, index: int) -> dict[str, object]:
    """Return an entry of the ledger with its genuine proof under the newest checkpoint."""
    size, _ = ledger.checkpoints[-1]
    proof = ledger.tree.inclusion_proof(
        index, size, lambda block: [leaf_hash(body) for body in ledger.entries[block * 256 : block * 256 + 256]]
    )
    return {
        "index": index,
        "entry": base64.b64encode(ledger.entries[index]).decode(),
        "proof": [base64.b64encode(each).decode() for each in proof],
    }


def made_up(ledger: Ledger, *indices: int) -> bytes:
    """Return a bundle of these entries as a liar with the log key would write it."""
    ledger.sign_checkpoint()
    return written(
        {
            "type": TYPE,
            "enclave": "hot",
            "subject": indices[-1],
            "checkpoint": ledger.checkpoints[-1][1].decode(),
            "entries": [entry(ledger, index) for index in indices],
            "envelopes": [],
        }
    )
