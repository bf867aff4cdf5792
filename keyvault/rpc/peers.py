"""Asks the other nodes, over mutual TLS between nodes, for the newest checkpoint that each has seen."""

import asyncio
from collections.abc import Callable, Sequence

import grpc

from keyvault.core import limits
from keyvault.core.ids import EnclaveName
from keyvault.rpc.forward import OPTIONS, target_of
from keyvault.rpc.server import Identity
from keyvault.v1 import cluster_pb2, cluster_pb2_grpc


class AskPeers:
    """See ``engine.peers.Peers``. Each question has connections of its own: none is left in a back-off."""

    def __init__(self, addresses: Sequence[str], identity: Identity, enclave: EnclaveName) -> None:
        self._addresses = addresses
        self._parent = f"enclaves/{enclave}"
        self._credentials: Callable[[], grpc.ChannelCredentials] = identity.for_channels

    async def __call__(self) -> list[tuple[str, bytes]]:
        """See Peers."""
        if not self._addresses:
            return []
        asking = {asyncio.create_task(self._ask(address)): address for address in self._addresses}
        try:
            answered, _ = await asyncio.wait(asking, timeout=limits.PEER_ANSWER_MS / 1000)
        finally:
            for each in asking:
                each.cancel()
        return [(asking[each], each.result()) for each in answered if each.exception() is None and each.result()]

    async def _ask(self, address: str) -> bytes:
        async with grpc.aio.secure_channel(target_of(address), self._credentials(), options=OPTIONS) as channel:
            stub: cluster_pb2_grpc.ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(channel)
            node = await stub.GetNode(cluster_pb2.GetNodeRequest(parent=self._parent))
            return node.checkpoint.encode()
