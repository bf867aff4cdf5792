"""ClusterService: how this node stands, and moving the lead."""

from keyvault.core.errors import Reason, Refused
from keyvault.engine.served import Served
from keyvault.engine.standing import Member, Standing
from keyvault.rpc.auth import READERS, Context, Door
from keyvault.rpc.keys import check_enclave, guarded
from keyvault.v1 import cluster_pb2, cluster_pb2_grpc


class ClusterService(cluster_pb2_grpc.ClusterServiceServicer):
    """This node. ``member`` is None on a server that is alone."""

    def __init__(self, enclave: Served, door: Door, member: Member | None) -> None:
        self._enclave = enclave
        self._door = door
        self._member = member

    async def GetNode(self, request: cluster_pb2.GetNodeRequest, context: Context) -> cluster_pb2.Node:
        """See cluster.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> cluster_pb2.Node:
            check_enclave(self._enclave, "parent", request.parent)
            return self._alone() if self._member is None else _to_proto(self._member.standing())

        return await guarded(context, work)

    async def StepDown(self, request: cluster_pb2.StepDownRequest, context: Context) -> cluster_pb2.Node:
        """See cluster.proto."""
        await self._door.admit(context, "admin")

        async def work() -> cluster_pb2.Node:
            check_enclave(self._enclave, "parent", request.parent)
            member = self._shared()
            await member.hand_over()
            return _to_proto(member.standing())

        return await guarded(context, work)

    async def SetDrained(self, request: cluster_pb2.SetDrainedRequest, context: Context) -> cluster_pb2.Node:
        """See cluster.proto."""
        await self._door.admit(context, "admin")

        async def work() -> cluster_pb2.Node:
            check_enclave(self._enclave, "parent", request.parent)
            member = self._shared()
            await member.set_drained(drained=request.drained)
            return _to_proto(member.standing())

        return await guarded(context, work)

    def _shared(self) -> Member:
        if self._member is None:
            raise Refused(Reason.STATE_MISMATCH, "this server is the only one of its enclave: nobody could take over")
        return self._member

    def _alone(self) -> cluster_pb2.Node:
        state = self._enclave.state
        return cluster_pb2.Node(leads=True, epoch=state.epoch, position=self._enclave.size, eligible=True)


def _to_proto(standing: Standing) -> cluster_pb2.Node:
    return cluster_pb2.Node(
        address=standing.address,
        leads=standing.leads,
        leader=standing.leader,
        epoch=standing.epoch,
        position=standing.position,
        checkpoint_size=standing.checkpoint_size,
        eligible=not standing.obstacle,
        obstacle=standing.obstacle,
        drained=standing.drained,
        quarantined=standing.quarantined,
        cosigner_vkey=standing.cosigner_vkey,
    )
