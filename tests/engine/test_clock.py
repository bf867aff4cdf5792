"""A wall clock that leaps: what was decided by it could never be taken back."""

import inspect

import pytest

from keyvault import app
from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.core.statements import Action
from keyvault.engine.clock import SteadyClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.store.memory import MemoryStore
from tests.engine.world import SOON, opened_world
from tests.worlds import NOW, ballot, digest_request, key_parameters, propose, statement

YEAR_MS = 365 * 86_400_000


class Hands:
    """The machine's clocks, moved by hand."""

    def __init__(self) -> None:
        self.wall_ms, self.boot_s = int(NOW), 100.0

    def clock(self) -> SteadyClock:
        """Return what a server that starts now reads."""
        return SteadyClock(lambda: self.wall_ms, lambda: self.boot_s)


def test_a_clock_that_leaps_ahead_is_not_believed_until_it_is_back() -> None:
    """Going on is believed, suspended or not, and so are small steps; a start believes what the clock says."""
    hands = Hands()
    clock = hands.clock()
    hands.wall_ms, hands.boot_s = hands.wall_ms + YEAR_MS, hands.boot_s + YEAR_MS / 1000
    assert clock.now() == NOW + YEAR_MS
    hands.wall_ms += limits.CLOCK_LEAP_MS_MAX
    assert clock.now() == hands.wall_ms
    hands.wall_ms += 1_000
    with pytest.raises(Unavailable, match="leapt 301 s ahead while the server ran"):
        clock.now()
    assert hands.clock().now() == hands.wall_ms
    hands.wall_ms -= 2_000
    assert clock.now() == hands.wall_ms
    hands.wall_ms -= YEAR_MS
    assert clock.now() == hands.wall_ms


def test_the_server_reads_the_clock_that_does_not_leap() -> None:
    """Whatever a served enclave decides is dated by it."""
    assert "self._clock = SteadyClock()" in inspect.getsource(app)


async def test_while_the_clock_leaps_nothing_is_decided() -> None:
    """No answer and no question is dated a year ahead, the term goes on, and afterwards all is as it was."""
    async with opened_world() as world:
        hands = Hands()
        await world.enclave.close()
        world.enclave = enclave = await Enclave.open(
            store=MemoryStore(world.medium),
            token=world.token,
            clock=hands.clock(),
            identity=Identity(holder="h2", software="test"),
        )
        await enclave.request(digest_request("r1"), SOON)
        size, latest = enclave.size, enclave.state.latest_at
        hands.wall_ms += YEAR_MS
        with pytest.raises(Unavailable, match="leapt"):
            enclave.request(digest_request("r2"), SOON)
        said = statement(
            enclave.state, Action.KEY_CREATE, key_parameters("other"), nonce="0a", expires_at=NOW + 3_600_000
        )
        with pytest.raises(Unavailable, match="leapt"):
            await enclave.propose(propose(said, world.alice))
        await enclave.govern()
        assert (enclave.size, enclave.state.latest_at) == (size, latest)
        hands.wall_ms -= YEAR_MS
        await enclave.request(digest_request("r2"), SOON)
        await enclave.propose(propose(said, world.alice))
        await enclave.cast(ballot(said, world.bob))
        assert "other" in enclave.state.keys
        assert enclave.state.latest_at < NOW + YEAR_MS
