import json

import pytest

from keyvault.cli.narrate import narrate
from keyvault.ledger.codec import encode
from keyvault.ledger.show import describe
from tests.ledger.golden import EVENTS

OPAQUE_WORDS = "Does something at an unknown place that keyvault cannot read."
TOLD = {
    "genesis": ("", "Enclave hot begins. Members: alice (admin, approver), carol (auditor), dave (approver)."),
    "term-started": ("node-1", "Term 1099511627776 started (keyvault keyvault 0.1.0)."),
    "proposal-made": (
        "alice",
        (
            "Asks: Create key eth-mm-1 (SECP256K1) in enclave hot: it is ACTIVE at once, and due for rotation after "
            "365 days (the enclave proposes that itself)."
        ),
    ),
    "proposal-made-rotation": (
        "service:rotation",
        "Asks: Rotate key eth-mm-1 in enclave hot to version 2: it is ACTIVE at once.",
    ),
    "ballot-cast": ("dave", "Approves proposal 717171717171."),
    "ballot-cast-veto": ("alice", "VETOES proposal 717171717171."),
    "change-refused": ("spiffe://firm.example/admin/desk", "Was not taken: approve about proposal 717171717171."),
    "change-refused-unknown": ("spiffe://firm.example/approver/dave", "Was not taken: key.create."),
    "key-created": (
        "",
        "Key eth-mm-1 version 2 (SECP256K1) is made: generated, and signs nothing before it is enabled.",
    ),
    "key-state-changed": ("", "Key eth-mm-1 version 1 is disabled: it signs nothing."),
    "key-destruction-scheduled": (
        "",
        "Key eth-mm-1 version 1 is disabled and will be DESTROYED at 2026-10-21 14:13:20.123Z.",
    ),
    "key-destroyed": ("", "Key eth-mm-1 version 1 is DESTROYED: the token has it no more."),
    "policy-published": ("", "Policy version 7 decides from here on."),
    "charter-changed": ("", "Charter version 2 is in force: members, groups and thresholds are replaced."),
    "charter-changed-break-glass": (
        "",
        "BREAK GLASS: Charter version 3 is in force: members, groups and thresholds are replaced.",
    ),
    "frozen": ("", "FROZEN: the whole enclave; nothing is signed for it."),
    "thawed": ("", "The freeze of venue binance is lifted."),
    "ceremony-step-recorded": ("", "Members vouch for a step of a ceremony."),
    "incarnation-started": (
        "",
        (
            "A RESTORED LEDGER GOES ON as incarnation 2 from 40 entries. GIVEN UP: 57 entries (incarnation 1, epoch 7, "
            "root 0c0c0c0c0c0c0c0c); limits count as full, open proposals are void."
        ),
    ),
    "signature-escalated": (
        "spiffe://firm.example/bot/maker-1",
        "Members are asked before eth-mm-1/versions/1 signs: " + OPAQUE_WORDS,
    ),
    "signature-issued-approved": (
        "spiffe://firm.example/bot/maker-1",
        "Signed with eth-mm-1/versions/1: " + OPAQUE_WORDS,
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_fact_is_told_in_plain_words(name: str) -> None:
    """Who and what stands in one line that a person understands; what is dangerous stands in capitals."""
    line = narrate(0, EVENTS[name])
    assert (line.who, line.what) == TOLD[name]


@pytest.mark.parametrize("name", EVENTS)
def test_every_fact_can_be_told_and_shown(name: str) -> None:
    """Every kind of fact has a line of its own name and a JSON document; so has the auditor's program."""
    event = EVENTS[name]
    line = narrate(7, event)
    document = json.loads(json.dumps(line.document(encode(event))))
    assert (document["index"], document["at_ms"]) == (7, event.at)
    assert document["kind"] == line.kind
    assert line.kind.replace("_", "").lower() == type(event).__name__.lower()
    assert line.what.isprintable()
    assert json.loads(json.dumps(describe(event)))["fact"] == type(event).__name__


def test_a_request_to_break_the_glass_is_loud() -> None:
    """Asking for it is as loud as doing it, and gives the reason."""
    what = narrate(0, EVENTS["proposal-made-charter"]).what
    assert what.startswith("ASKS TO BREAK THE GLASS: BREAK GLASS: replace the charter")
    assert what.endswith("Reason: dave and alice lost their keys")


def test_why_names_the_members_and_the_rules() -> None:
    """A signature says that members approved it; a question says whom it needs; what was carried out, for whom."""
    assert narrate(0, EVENTS["signature-issued-approved"]).why.endswith("members approved proposal 717171717171")
    assert narrate(0, EVENTS["signature-escalated"]).why == (
        "ask-risk, ask-owners escalates it: needs 2 of risk; 1 of owners"
    )
    assert narrate(0, EVENTS["key-created"]).why == "carries out proposal 717171717171"
    assert narrate(0, EVENTS["proposal-made-rotation"]).why == "the enclave proposes it by itself: it fell due"
    assert narrate(0, EVENTS["change-refused"]).why.startswith("VETOED: ")
