"""What would be decided, and what is left: questions that change nothing. The answers are the server's word.

``keyvault policy explain --ledger`` finds the same out here, from a copy of the ledger.
"""

from keyvault.client.caller import Caller
from keyvault.client.errors import UnusableAnswer, invalid
from keyvault.client.verify import Asked
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload
from keyvault.core.limits_check import Quota
from keyvault.core.simulation import Simulation
from keyvault.ledger.wire_simulation import quota_from_proto, simulation_from_proto
from keyvault.v1 import signing_pb2

_UNNAMED = "simulated"


class Simulating(Caller):
    """Asks what would be decided."""

    async def simulate(
        self, key: str, payload: Payload, *, principal: str | None = None, request_id: str | None = None
    ) -> Simulation:
        """Return what ``sign`` would be told now if the request id were new, and why. Nothing is recorded.

        ``principal``: who would ask, by SPIFFE id; us if it is left out. Admins and auditors may name anybody.

        Raises Denied for another's request or key, InvalidRequest for a payload that cannot be read.
        """
        try:
            asked = Asked.of(self.enclave, key, payload, request_id or _UNNAMED)
        except Malformed as error:
            raise invalid(error) from None
        request = signing_pb2.SimulateRequest(request=asked.to_proto(), principal=principal or "")
        message = await self.transport.call(lambda at: at.signing.Simulate, request)
        try:
            return simulation_from_proto(message)
        except Malformed as error:
            raise UnusableAnswer(f"the simulation cannot be read: {error}") from None

    async def quotas(self, key: str, *, principal: str | None = None) -> tuple[Quota, ...]:
        """Return what was used of every limit about a key and a principal (us if it is left out)."""
        request = signing_pb2.GetQuotaRequest(key=self._key_name(key).resource, principal=principal or "")
        message = await self.transport.call(lambda at: at.signing.GetQuota, request)
        try:
            return tuple(map(quota_from_proto, message.limits))
        except Malformed as error:
            raise UnusableAnswer(f"the quota cannot be read: {error}") from None
