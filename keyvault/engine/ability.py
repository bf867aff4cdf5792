"""What a node of a pair could do with its token: lead, if nothing is missing; cosign and remember, while it follows."""

from contextlib import suppress

from keyvault.core.errors import Unavailable
from keyvault.core.marks import Mark
from keyvault.engine.anchors import Memory
from keyvault.engine.challenge import Challenges
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.replica import Replica
from keyvault.hsm.base import Lane, Token


class Ability:
    """One node's token, as its ledger needs it."""

    def __init__(self, token: Token, replica: Replica, cosigning: Cosigning) -> None:
        self.lacks = "it has not looked at its token yet"
        """What the token lacks to lead, in words."""
        self.memory = Memory(token)
        self._token = token
        self._replica = replica
        self._cosigning = cosigning
        self._challenges = Challenges()

    @property
    def seen(self) -> Mark | None:
        """What the token remembers of the ledger, as far as it was asked."""
        return self.memory.seen

    @property
    def has_worker(self) -> bool:
        """Whether the token can do anything now."""
        return self._lane() is not None

    async def look(self) -> str:
        """Find out what the token lacks to lead; return it, in words."""
        lane = self._lane()
        if not self._replica.head.size:
            self.lacks = "the ledger is empty"
        elif lane is None:
            self._challenges.forget()
            self.lacks = "its token has no worker"
        else:
            self.lacks = await self._challenges.missing(lane, self._replica.state)
        return self.lacks

    async def vouch(self) -> None:
        """Cosign the newest checkpoint that was compared, and let the token remember it. Who cannot now does later."""
        lane = self._lane()
        if lane is not None and self._replica.head.size:
            with suppress(Unavailable):
                await self._cosigning.cosign(lane, self._replica.origin, self._replica.copy.checkpoint())
            await self.memory.tell(self._replica.compared())

    def _lane(self) -> Lane | None:
        return next((lane for lane in self._token.lanes if lane.is_up), None)
