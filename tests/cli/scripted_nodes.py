"""Servers that say of a sample ledger whatever a test tells them: nodes, and nodes that lie.

They have certificates of a real deployment, and the log key of the sample: no real server signs two histories.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.v1 import audit_pb2, cluster_pb2, keys_pb2
from tests.deployment import Deployment
from tests.ledger.ledgers import Ledger


@dataclass(kw_only=True)
class Scripted:
    """One node: the note that it cosigned, its key, and the newest checkpoints that it shows, one a question."""

    vkey: str
    cosigned: bytes
    newest: Sequence[tuple[int, bytes]] = ()
    hashes: tuple[bytes, ...] | None = None
    """Given for every proof, if it lies."""
    asked: int = field(default=0, init=False)


def _handlers(ledger: Ledger, node: Scripted) -> tuple[grpc.GenericRpcHandler, ...]:
    def enclave(_: Message, __: object) -> Message:
        return keys_pb2.Enclave(name="enclaves/hot", log_vkey=ledger.key.vkey)

    def standing(_: Message, __: object) -> Message:
        return cluster_pb2.Node(cosigned=node.cosigned.decode(), cosigner_vkey=node.vkey)

    def proof(request: audit_pb2.GetConsistencyProofRequest, _: object) -> Message:
        size, note = node.newest[min(node.asked, len(node.newest) - 1)]
        node.asked += 1
        tree = Tree.of([leaf_hash(body) for body in ledger.entries[:size]])

        def leaves(block: int) -> list[bytes]:
            return [leaf_hash(body) for body in ledger.entries[block * 256 : (block + 1) * 256]]

        hashes = node.hashes if node.hashes is not None else tree.consistency_proof(request.old_size, size, leaves)
        return audit_pb2.GetConsistencyProofResponse(hashes=hashes, checkpoint=note.decode())

    def service(name: str, method: str, kind: type[Message], answer: Callable[..., Message]) -> grpc.GenericRpcHandler:
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=kind.FromString, response_serializer=lambda reply: reply.SerializeToString()
        )
        return grpc.method_handlers_generic_handler(f"keyvault.v1.{name}", {method: handler})

    return (
        service("KeyService", "GetEnclave", keys_pb2.GetEnclaveRequest, enclave),
        service("ClusterService", "GetNode", cluster_pb2.GetNodeRequest, standing),
        service("AuditService", "GetConsistencyProof", audit_pb2.GetConsistencyProofRequest, proof),
    )


def _stop(server: grpc.Server) -> None:
    server.stop(None).wait()


@contextmanager
def scripted_nodes(deployment: Deployment, ledger: Ledger, *nodes: Scripted) -> Iterator[str]:
    """Serve these nodes with the deployment's own certificate; give their addresses, as for --target."""
    certs, ca = deployment.dir / "certs", (deployment.dir / "ca" / "ca.crt").read_bytes()
    pair = (certs / "server-hot.key").read_bytes(), (certs / "server-hot.crt").read_bytes()
    with ExitStack() as running:
        ports = []
        for node in nodes:
            server = grpc.server(ThreadPoolExecutor(2))
            ports.append(
                server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], ca, require_client_auth=True))
            )
            server.add_generic_rpc_handlers(_handlers(ledger, node))
            server.start()
            running.callback(_stop, server)
        yield ",".join(f"127.0.0.1:{port}" for port in ports)
