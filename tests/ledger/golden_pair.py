"""Golden events about pairs; see ``golden``."""

from keyvault.core.events import Event, PairSet, ProposalMade, TermStarted
from keyvault.core.ids import Epoch, Principal
from keyvault.core.statements import Action
from tests.ledger.golden_signatures import AT, CHARTER_SHA256, PROPOSAL, statement_of
from tests.ledger.golden_tokens import SIGNED

KV1, KV2 = (Principal(f"spiffe://firm.example/node/kv-{number}") for number in (1, 2))

PAIRS: dict[str, Event] = {
    "proposal-made-pair": ProposalMade(
        at=AT,
        epoch=Epoch(7),
        statement=statement_of(
            Action.PAIR_SET,
            leader=KV1,
            followers=KV2,
            epoch="7",
            stands="yes",
            position="57",
            decided_at_ms="1789999999000",
            reason="the other machine is gone",
        ),
        signature=SIGNED,
    ),
    "term-started-standing": TermStarted(
        at=AT, epoch=Epoch(7), holder="0a" * 16, software="keyvault 0.1.0", node=KV1, stands=True
    ),
    "pair-set": PairSet(
        at=AT, epoch=Epoch(7), leader=KV1, followers=(KV2,), proposal=PROPOSAL, charter_sha256=CHARTER_SHA256
    ),
    "pair-set-alone": PairSet(
        at=AT, epoch=Epoch(7), leader=KV1, followers=(), proposal=PROPOSAL, charter_sha256=CHARTER_SHA256
    ),
}
