"""ClusterService: how this node stands, moving the lead, and what other nodes' tokens hold.

Who moves the lead needs no member's approval, and can stop signing with it: so the log names them first of all.
"""

from collections.abc import Callable

import structlog

from keyvault.core import limits
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.ids import NOBODY
from keyvault.engine.copies import Proof
from keyvault.engine.served import Served
from keyvault.engine.spreading import Spreading
from keyvault.engine.standing import Member, PlaceStanding, Standing
from keyvault.ledger import wire
from keyvault.rpc.auth import READERS, Context, Door
from keyvault.rpc.keys import check_enclave, guarded
from keyvault.rpc.names import parse_key_name
from keyvault.v1 import cluster_pb2, cluster_pb2_grpc

log = structlog.get_logger("keyvault.rpc")


class ClusterService(cluster_pb2_grpc.ClusterServiceServicer):
    """This node. ``member`` is None on a server that is alone."""

    def __init__(
        self,
        enclave: Served,
        door: Door,
        member: Member | None,
        installing: Callable[[], str] = lambda: "",
        spreading: Spreading | None = None,
    ) -> None:
        """``installing`` says what the node's token lacks."""
        self._enclave = enclave
        self._door = door
        self._member = member
        self._installing = installing
        self._spreading = spreading
        self._drained_by = NOBODY

    async def GetNode(self, request: cluster_pb2.GetNodeRequest, context: Context) -> cluster_pb2.Node:
        """See cluster.proto."""
        await self._door.admit(context, *READERS, "node")

        async def work() -> cluster_pb2.Node:
            check_enclave(self._enclave, "parent", request.parent)
            return self._alone() if self._member is None else self._standing(self._member)

        return await guarded(context, work)

    async def StepDown(self, request: cluster_pb2.StepDownRequest, context: Context) -> cluster_pb2.Node:
        """See cluster.proto."""
        admin = await self._door.admit(context, "admin")

        async def work() -> cluster_pb2.Node:
            check_enclave(self._enclave, "parent", request.parent)
            member = self._shared()
            log.warning("asked to step down", by=admin, peer=context.peer())
            await member.hand_over()
            return self._standing(member)

        return await guarded(context, work)

    async def SetDrained(self, request: cluster_pb2.SetDrainedRequest, context: Context) -> cluster_pb2.Node:
        """See cluster.proto."""
        admin = await self._door.admit(context, "admin")

        async def work() -> cluster_pb2.Node:
            check_enclave(self._enclave, "parent", request.parent)
            member = self._shared()
            log.warning("asked to drain" if request.drained else "asked to lead again", by=admin, peer=context.peer())
            self._drained_by = admin if request.drained else NOBODY
            await member.set_drained(drained=request.drained)
            return self._standing(member)

        return await guarded(context, work)

    async def ReportKeys(
        self, request: cluster_pb2.ReportKeysRequest, context: Context
    ) -> cluster_pb2.ReportKeysResponse:
        """See cluster.proto."""
        node = await self._door.admit(context, "node")

        async def work() -> cluster_pb2.ReportKeysResponse:
            check_enclave(self._enclave, "parent", request.parent)
            if len(request.proofs) > limits.REPORTED_KEYS_MAX:
                raise Malformed("proofs", f"at most {limits.REPORTED_KEYS_MAX} at once")
            await self._enclave.report(node, [self._proof(each) for each in request.proofs])
            return cluster_pb2.ReportKeysResponse()

        return await guarded(context, work)

    def _proof(self, message: cluster_pb2.KeyProof) -> Proof:
        wire.refuse_unknown_fields(message)
        enclave, key, version = parse_key_name("proofs.name", message.name)
        if enclave != self._enclave.state.enclave or version is None:
            raise Malformed("proofs.name", "must name a version of a key of this enclave")
        return Proof(key=key, version=version, signature=wire.signature_from_proto(message.signature))

    def _standing(self, member: Member) -> cluster_pb2.Node:
        standing = member.standing()
        message = _to_proto(standing, self._installing(), self._spreading)
        message.drained_by = self._drained_by if standing.drained else NOBODY
        return message

    def _shared(self) -> Member:
        if self._member is None:
            raise Refused(Reason.STATE_MISMATCH, "this server is the only one of its enclave: nobody could take over")
        return self._member

    def _alone(self) -> cluster_pb2.Node:
        state = self._enclave.state
        return cluster_pb2.Node(leads=True, epoch=state.epoch, position=self._enclave.size, eligible=True)


def _to_proto(standing: Standing, installing: str, spreading: Spreading | None) -> cluster_pb2.Node:
    return cluster_pb2.Node(
        address=standing.address,
        leads=standing.leads,
        leader=standing.leader,
        epoch=standing.epoch,
        position=standing.position,
        checkpoint_size=standing.checkpoint[0],
        eligible=not standing.obstacle,
        obstacle=standing.obstacle,
        drained=standing.drained,
        quarantined=standing.quarantined,
        installing=installing,
        cosigner_vkey=standing.cosigner_vkey,
        peers=[
            cluster_pb2.Peer(node=each.node, address=each.address, position=each.position, obstacle=each.obstacle)
            for each in standing.peers
        ],
        cosigned=standing.cosigned.decode(),
        checkpoint=standing.checkpoint[1].decode(),
        place="" if spreading is None else spreading.place,
        places=[] if spreading is None else map(_place, spreading.places()),
    )


def _place(place: PlaceStanding) -> cluster_pb2.Place:
    return cluster_pb2.Place(place=place.place, leads=place.leads, able=place.able)
