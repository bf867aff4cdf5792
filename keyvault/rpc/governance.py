"""GovernanceService: policy."""

from keyvault.core.approvals import Action
from keyvault.engine.enclave import Enclave
from keyvault.ledger.codec_policy import decode_policy
from keyvault.rpc.auth import Context, Door
from keyvault.rpc.keys import change_of, check_enclave, guarded
from keyvault.v1 import governance_pb2, governance_pb2_grpc, policy_pb2


class GovernanceService(governance_pb2_grpc.GovernanceServiceServicer):
    """The policy of one enclave."""

    def __init__(self, enclave: Enclave, door: Door) -> None:
        self._enclave = enclave
        self._door = door

    async def GetPolicy(
        self, request: governance_pb2.GetPolicyRequest, context: Context
    ) -> governance_pb2.GetPolicyResponse:
        """See governance.proto."""
        await self._door.admit(context, "admin", "auditor")

        async def work() -> governance_pb2.GetPolicyResponse:
            check_enclave(self._enclave, "parent", request.parent)
            return self._show()

        return await guarded(context, work)

    async def PublishPolicy(
        self, request: governance_pb2.PublishPolicyRequest, context: Context
    ) -> governance_pb2.GetPolicyResponse:
        """See governance.proto."""
        await self._door.admit(context, "admin")

        async def work() -> governance_pb2.GetPolicyResponse:
            check_enclave(self._enclave, "parent", request.parent)
            command = change_of(
                request.authorization,
                Action.POLICY_PUBLISH,
                policy=decode_policy(request.document),
                document=request.document,
            )
            await self._enclave.change(command)
            return self._show()

        return await guarded(context, work)

    def _show(self) -> governance_pb2.GetPolicyResponse:
        state = self._enclave.state
        return governance_pb2.GetPolicyResponse(
            policy=policy_pb2.Policy.FromString(state.policy_document),
            document=state.policy_document,
            sha256=state.policy_sha256,
        )
