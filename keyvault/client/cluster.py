"""How the nodes of an enclave stand, and moving the lead between them. For roles admin, approver and auditor.

Every call is about one node: give the client the address of that node alone.
"""

from dataclasses import dataclass

from keyvault.client.governance import Governance
from keyvault.v1 import cluster_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceStanding:
    """A place, as a node sees it: enclaves of its database that are led there, and those that could be."""

    place: str
    leads: tuple[str, ...]
    able: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStanding:
    """One node, as it says itself. ``obstacle``: why it could not lead, in words; empty if it could."""

    address: str
    leads: bool
    leader: str
    epoch: int
    position: int
    checkpoint_size: int
    obstacle: str
    drained: bool
    quarantined: bool
    cosigner_vkey: str
    installing: str = ""
    """What its token lacks of the ledger's keys, and why; it may lead nevertheless."""
    cosigned: bytes = b""
    """The newest checkpoint that it cosigned, as note that nobody verified; empty if none."""
    place: str = ""
    """Where it runs; empty if it takes no part in spreading enclaves over places."""
    places: tuple[PlaceStanding, ...] = ()
    """How the enclaves are spread, as far as it knows."""
    peers: "tuple[PeerStanding, ...]" = ()
    drained_by: str = ""
    """Who drained it; empty if nobody did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStanding:
    """Another node of a pair, as its leader knows it. ``position`` is None if it is not known now."""

    node: str
    address: str
    position: int | None
    obstacle: str


class Cluster(Governance):
    """Nodes of one enclave."""

    async def get_node(self) -> NodeStanding:
        """Return how the node stands."""
        request = cluster_pb2.GetNodeRequest(parent=self._parent)
        return _standing(await self.transport.call(lambda at: at.cluster.GetNode, request))

    async def step_down(self) -> NodeStanding:
        """Let another node lead if this one does; return how it stands then. For role admin."""
        request = cluster_pb2.StepDownRequest(parent=self._parent)
        return _standing(await self.transport.call(lambda at: at.cluster.StepDown, request))

    async def set_drained(self, *, drained: bool) -> NodeStanding:
        """Let the node stay away from the lead, or come back; return how it stands then. For role admin."""
        request = cluster_pb2.SetDrainedRequest(parent=self._parent, drained=drained)
        return _standing(await self.transport.call(lambda at: at.cluster.SetDrained, request))


def _standing(message: cluster_pb2.Node) -> NodeStanding:
    return NodeStanding(
        address=message.address,
        leads=message.leads,
        leader=message.leader,
        epoch=message.epoch,
        position=message.position,
        checkpoint_size=message.checkpoint_size,
        obstacle=message.obstacle,
        drained=message.drained,
        drained_by=message.drained_by,
        quarantined=message.quarantined,
        cosigner_vkey=message.cosigner_vkey,
        installing=message.installing,
        peers=tuple(
            PeerStanding(
                node=peer.node,
                address=peer.address,
                position=peer.position if peer.HasField("position") else None,
                obstacle=peer.obstacle,
            )
            for peer in message.peers
        ),
        cosigned=message.cosigned.encode(),
        place=message.place,
        places=tuple(
            PlaceStanding(place=each.place, leads=tuple(each.leads), able=tuple(each.able)) for each in message.places
        ),
    )
