"""Room for the one question that is left where a node stands, or is in quarantine."""

from pathlib import Path

import pytest

from keyvault.core import limits
from keyvault.core.errors import Overloaded
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from tests.engine.pair_world import paired
from tests.engine.restoring import restored
from tests.worlds import key_parameters, propose, statement

HOUR_MS = 3_600_000


async def test_proposals_that_wait_stop_no_promotion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can veto them where a node stands; of the question who leads one member may ask so often."""
    monkeypatch.setattr(limits, "OPEN_PROPOSALS_MAX", 3)
    monkeypatch.setattr(limits, "PRINCIPAL_PROPOSALS_MAX", 3)
    monkeypatch.setattr(limits, "MEMBER_LAST_RESORT_PROPOSALS_MAX", 2)
    async with paired(tmp_path) as world:
        until = world.clock.at + HOUR_MS
        for number in range(3):
            wanted = key_parameters(f"k{number}")
            said = statement(world["a"].state, Action.KEY_CREATE, wanted, nonce=f"0{number}", expires_at=until)
            await world["a"].node.propose(propose(said, world.alice))
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        named = world.pair_parameters("b", "b")
        for nonce in ("0a", "0b"):
            said = statement(world["b"].state, Action.PAIR_SET, named, nonce=nonce, expires_at=until)
            await world["b"].node.propose(propose(said, world.alice))
        size = world["b"].state.size
        for person, requester in ((world.alice, "alice"), (world.bob, "bob")):
            said = statement(
                world["b"].state, Action.PAIR_SET, named, nonce="0c", expires_at=until, requester=requester
            )
            if person is world.alice:
                with pytest.raises(Overloaded, match="2 of them asked by alice"):
                    await world["b"].node.propose(propose(said, person))
                assert world["b"].state.size == size
            else:
                made = await world["b"].node.propose(propose(said, person))
                assert made.outcome is Outcome.OPEN


async def test_the_question_who_leads_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: of all members together, too; the first that waits can still be approved."""
    monkeypatch.setattr(limits, "LAST_RESORT_PROPOSALS_MAX", 1)
    async with paired(tmp_path) as world:
        until, named = world.clock.at + HOUR_MS, world.pair_parameters("a", "b", "a")
        said = statement(world["a"].state, Action.PAIR_SET, named, nonce="0a", expires_at=until)
        await world["a"].node.propose(propose(said, world.alice))
        other = statement(world["a"].state, Action.PAIR_SET, named, nonce="0b", expires_at=until, requester="bob")
        with pytest.raises(Overloaded, match="1 and 8 are the most"):
            await world["a"].node.propose(propose(other, world.bob))


async def test_proposals_that_wait_stop_nobody_from_leaving_a_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    """There nothing else can be vetoed either."""
    async with restored() as here:
        monkeypatch.setattr(limits, "OPEN_PROPOSALS_MAX", 0)
        monkeypatch.setattr(limits, "PRINCIPAL_PROPOSALS_MAX", 0)
        await here.leave()
        assert here.world.enclave.quarantine is None
