"""A server that stands between a member and the real one, and shows them something else than they would sign."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from keyvault.v1 import audit_pb2, audit_pb2_grpc, governance_pb2, governance_pb2_grpc, keys_pb2, keys_pb2_grpc
from tests.deployment import Deployment

Lie = Callable[[governance_pb2.Proposal], None]
EnclaveLie = Callable[[keys_pb2.Enclave], None]
Change = Callable[[Message, Message], None]
TIMEOUT_S = 20


@dataclass(slots=True)
class Liar:
    """Where it listens, and every word that it was asked to pass on."""

    port: int
    cast: list[Message] = field(default_factory=list)


def _passed_on(stub: Callable[..., Message], kind: type[Message], change: Change) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return a method that asks the real server, and lets ``change`` see the question and have the answer."""

    def answer(request: Message, _: object) -> Message:
        reply = stub(request, timeout=TIMEOUT_S)
        change(request, reply)
        return reply

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=kind.FromString, response_serializer=lambda reply: reply.SerializeToString()
    )


def _unchanged(_: Message, __: Message) -> None:
    pass


def _no_proof(_: Message, context: grpc.ServicerContext) -> Message:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the token signs nothing")
    raise AssertionError("abort raises")


def _handlers(
    real: grpc.Channel, liar: Liar, lie: Lie, about_enclave: EnclaveLie, *, proves: bool
) -> tuple[grpc.GenericRpcHandler, ...]:
    audit = audit_pb2_grpc.AuditServiceStub(real)
    keys, governance = keys_pb2_grpc.KeyServiceStub(real), governance_pb2_grpc.GovernanceServiceStub(real)

    def lying(_: Message, proposal: Message) -> None:
        assert isinstance(proposal, governance_pb2.Proposal)
        lie(proposal)

    def lying_of_enclave(_: Message, enclave: Message) -> None:
        assert isinstance(enclave, keys_pb2.Enclave)
        about_enclave(enclave)

    def noting(request: Message, _: Message) -> None:
        liar.cast.append(request)

    return (
        grpc.method_handlers_generic_handler(
            "keyvault.v1.KeyService",
            {"GetEnclave": _passed_on(keys.GetEnclave, keys_pb2.GetEnclaveRequest, lying_of_enclave)},
        ),
        grpc.method_handlers_generic_handler(
            "keyvault.v1.AuditService",
            {
                "GetInclusionProof": _passed_on(audit.GetInclusionProof, audit_pb2.GetInclusionProofRequest, _unchanged)
                if proves
                else grpc.unary_unary_rpc_method_handler(_no_proof)
            },
        ),
        grpc.method_handlers_generic_handler(
            "keyvault.v1.GovernanceService",
            {
                "GetProposal": _passed_on(governance.GetProposal, governance_pb2.GetProposalRequest, lying),
                "ProposeChange": _passed_on(governance.ProposeChange, governance_pb2.ProposeChangeRequest, noting),
                "CastBallot": _passed_on(governance.CastBallot, governance_pb2.CastBallotRequest, noting),
            },
        ),
    )


@contextmanager
def lying_server(
    deployment: Deployment, lie: Lie, about_enclave: EnclaveLie = lambda _: None, *, proves: bool = True
) -> Iterator[Liar]:
    """Serve the deployment's members with the server's own certificate, but for what ``lie`` changes in proposals.

    Unless it ``proves``, it has no inclusion proof for anybody, as when no worker signs a checkpoint.
    """
    certs, ca = deployment.dir / "certs", (deployment.dir / "ca" / "ca.crt").read_bytes()

    def pair(name: str) -> tuple[bytes, bytes]:
        return (certs / f"{name}.key").read_bytes(), (certs / f"{name}.crt").read_bytes()

    real = grpc.secure_channel(f"127.0.0.1:{deployment.port}", grpc.ssl_channel_credentials(ca, *pair("admin-bob")))
    server = grpc.server(ThreadPoolExecutor(2))
    own = grpc.ssl_server_credentials([pair("server-hot")], ca, require_client_auth=True)
    liar = Liar(server.add_secure_port("127.0.0.1:0", own))
    server.add_generic_rpc_handlers(_handlers(real, liar, lie, about_enclave, proves=proves))
    server.start()
    try:
        yield liar
    finally:
        server.stop(None).wait()
        real.close()
