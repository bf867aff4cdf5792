"""The gRPC server: mutual TLS only, bounded everywhere, health and reflection beside our services.

TLS: gRPC's Python API cannot set a lowest version. The one TLS 1.2 suite that we let it offer needs an RSA server
certificate, ours is ECDSA (``keyvault init``), so nothing below TLS 1.3 can agree; with an RSA certificate of your own
TLS 1.2 with ECDHE and AES-256-GCM remains possible.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

# gRPC reads this once, when it is first used.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.core.ids import EnclaveName, Principal
from keyvault.engine.clock import Clock
from keyvault.engine.node import Node
from keyvault.engine.pair import PairTerms
from keyvault.engine.served import Served
from keyvault.engine.spreading import Spreading
from keyvault.engine.standing import Member
from keyvault.rpc.audit import AuditService
from keyvault.rpc.auth import Door
from keyvault.rpc.cluster import ClusterService
from keyvault.rpc.forward import Forwarder
from keyvault.rpc.governance import GovernanceService
from keyvault.rpc.keys import KeyService
from keyvault.rpc.pair import PairService
from keyvault.rpc.positions import Positions
from keyvault.rpc.signing import SigningService
from keyvault.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    cluster_pb2,
    cluster_pb2_grpc,
    governance_pb2,
    governance_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    pair_pb2_grpc,
    signing_pb2,
    signing_pb2_grpc,
)

SIGNING = signing_pb2.DESCRIPTOR.services_by_name["SigningService"].full_name
SERVICES = (
    SIGNING,
    keys_pb2.DESCRIPTOR.services_by_name["KeyService"].full_name,
    governance_pb2.DESCRIPTOR.services_by_name["GovernanceService"].full_name,
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name,
    cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"].full_name,
)

OPTIONS = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", limits.CALLS_MAX),
    # Calls that came and were not looked at yet. By default gRPC cancels some of them at random from 1 000 on, and a
    # bot does not know what that means; so no random before all that one connection may have.
    ("grpc.server.max_pending_requests", limits.CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", 2 * limits.CALLS_MAX),
    ("grpc.max_metadata_size", limits.GRPC_METADATA_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    # Clients may ping to find dead connections, but not so often that it is an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """PEM: the server's certificate chain and key, and the authority of its clients."""

    certificate_chain: bytes
    private_key: bytes
    client_ca: bytes

    def for_channels(self) -> grpc.ChannelCredentials:
        """Return what this server shows, and believes, where it calls another node."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.client_ca, private_key=self.private_key, certificate_chain=self.certificate_chain
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a node of a shared enclave has besides: how it stands, where it is called, and which others there are."""

    node: Node
    member: Member
    address: str
    nodes: frozenset[Principal]
    enclave: EnclaveName
    pair: PairTerms | None = None
    """The node of a pair, which its peers push entries to."""
    installing: Callable[[], str] = lambda: ""
    """What the node's token lacks of the ledger's keys."""
    spreading: Spreading | None = None
    """What the node knows of other enclaves, if it takes part in spreading them."""


class Server:
    """Serves one enclave until it is stopped."""

    def __init__(
        self,
        *,
        enclave: Served,
        clock: Clock,
        identity: Identity,
        listen: str,
        trust_domain: str,
        membership: Membership | None = None,
    ) -> None:
        door = Door(trust_domain, () if membership is None else membership.nodes)
        self._forwarder = _forwarder(membership, door, identity)
        self._server = grpc.aio.server(
            options=OPTIONS,
            maximum_concurrent_rpcs=limits.CALLS_MAX,
            # What is passed on has the leader's position, so it comes past no look at our own.
            interceptors=() if membership is None else (*filter(None, (self._forwarder,)), Positions(enclave)),
        )
        self._health = health.aio.HealthServicer()
        self._signing = SigningService(enclave, door, clock)
        self._governance = GovernanceService(enclave, door, clock)
        signing_pb2_grpc.add_SigningServiceServicer_to_server(self._signing, self._server)
        keys_pb2_grpc.add_KeyServiceServicer_to_server(KeyService(enclave, door), self._server)
        governance_pb2_grpc.add_GovernanceServiceServicer_to_server(self._governance, self._server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(enclave, door), self._server)
        cluster = (
            ClusterService(enclave, door, None)
            if membership is None
            else ClusterService(enclave, door, membership.member, membership.installing, membership.spreading)
        )
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(cluster, self._server)
        if membership is not None and membership.pair is not None:
            service = PairService(membership.pair, door, membership.enclave)
            pair_pb2_grpc.add_PairServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        credentials = grpc.ssl_server_credentials(
            [(identity.private_key, identity.certificate_chain)],
            root_certificates=identity.client_ca,
            require_client_auth=True,
        )
        try:
            self.port = self._server.add_secure_port(listen, credentials)
        except RuntimeError as error:  # all that gRPC says of an address that cannot be had
            raise Unavailable(
                f"cannot listen on {listen}: another process has the port, or the address is not this machine's"
            ) from error

    async def start(self) -> None:
        """Accept calls and say SERVING."""
        await self._server.start()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def say_signing(self, *, able: bool, whole: bool) -> None:
        """Let health say whether anything can be signed, and whether the whole is well; calls go on either way."""
        for name, well in (("", whole), (SIGNING, able)):
            status = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, take no new calls, give those in flight ``grace_s`` seconds, then cut them."""
        await self._health.enter_graceful_shutdown()
        self._signing.drain()
        self._governance.drain()
        await self._server.stop(grace_s)
        if self._forwarder is not None:
            await self._forwarder.close()


def _forwarder(membership: Membership | None, door: Door, identity: Identity) -> Forwarder | None:
    """Return what passes calls on; None for a server that is alone, or that names no other nodes."""
    if membership is None or not membership.nodes:
        return None
    return Forwarder(membership.node, door, identity.for_channels(), membership.address)
