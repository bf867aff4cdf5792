"""The yardstick of unary calls: ``python -m keyvault.bench.echo --config FILE``.

The same gRPC server on the same event loop, with the same options, certificates and messages as the real one, that
does nothing but answer. It prints its port and serves until SIGTERM.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import uvloop

from keyvault import config
from keyvault.core import limits
from keyvault.rpc.auth import Context
from keyvault.rpc.server import OPTIONS
from keyvault.secretfile import read_secret_file
from keyvault.v1 import signing_pb2, types_pb2

_SERVICE = signing_pb2.DESCRIPTOR.services_by_name["SigningService"].full_name
_KEY_VERSION_SUFFIX = "/versions/1"
_DIGEST = bytes(32)
_SIGNATURE = bytes(64)


async def echo(request: signing_pb2.SignRequest, _: Context) -> signing_pb2.SignResponse:
    """Return a message as long as a real answer to a raw digest."""
    return signing_pb2.SignResponse(
        request_id=request.request_id,
        key_version=request.key + _KEY_VERSION_SUFFIX,
        ledger_index=1,
        signing_input=_DIGEST,
        signature=types_pb2.Signature(value=_SIGNATURE),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; return 0."""
    parser = argparse.ArgumentParser(prog="keyvault.bench.echo", description="Started by `keyvault bench`.")
    parser.add_argument("--config", type=Path, required=True, help="keyvault.toml of the deployment")
    uvloop.run(_serve(config.load(parser.parse_args(arguments).config)))
    return 0


async def _serve(deployment: config.Config) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    identity = deployment.server
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=limits.CALLS_MAX)
    sign = grpc.unary_unary_rpc_method_handler(
        echo,
        request_deserializer=signing_pb2.SignRequest.FromString,
        response_serializer=signing_pb2.SignResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Sign": sign}),))
    credentials = grpc.ssl_server_credentials(
        [(read_secret_file(identity.private_key), identity.certificate.read_bytes())],
        root_certificates=identity.client_ca.read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port(identity.listen, credentials)
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    sys.exit(main())
