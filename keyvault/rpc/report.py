"""Tells the leader, over mutual TLS between nodes, which keys this node's token holds."""

from collections.abc import Callable, Sequence

import grpc

from keyvault.core import limits
from keyvault.core.errors import NotLeader, Unavailable
from keyvault.core.ids import EnclaveName, Principal
from keyvault.core.keys import resource_name
from keyvault.engine.copies import Proof
from keyvault.engine.node import Node
from keyvault.ledger import wire
from keyvault.rpc.forward import OPTIONS, target_of
from keyvault.rpc.server import Identity
from keyvault.v1 import cluster_pb2, cluster_pb2_grpc


class Reports:
    """One node's reports to whoever leads; to itself while it does."""

    def __init__(self, node: Node, own: Principal, identity: Identity, enclave: EnclaveName) -> None:
        self._node = node
        self._own = own
        self._enclave = enclave
        self._credentials: Callable[[], grpc.ChannelCredentials] = identity.for_channels

    async def __call__(self, proofs: Sequence[Proof]) -> None:
        """Report, or raise KeyvaultError that says why nobody took it."""
        if self._node.leads:
            await self._node.report(self._own, proofs)
            return
        leader = self._node.leader
        if not leader:
            raise NotLeader
        request = cluster_pb2.ReportKeysRequest(
            parent=f"enclaves/{self._enclave}",
            proofs=[
                cluster_pb2.KeyProof(
                    name=resource_name(self._enclave, proof.key, proof.version),
                    signature=wire.signature_to_proto(proof.signature),
                )
                for proof in proofs
            ],
        )
        async with grpc.aio.secure_channel(target_of(leader), self._credentials(), options=OPTIONS) as channel:
            stub: cluster_pb2_grpc.ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(channel)
            try:
                await stub.ReportKeys(request, timeout=limits.REPORT_MS_MAX / 1000)
            except grpc.aio.AioRpcError as error:
                raise Unavailable(f"{leader} did not take the report: {error.details()}") from error
