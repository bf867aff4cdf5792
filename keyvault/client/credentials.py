"""Who the client is, and whom it takes for the server: mutual TLS, and nothing else."""

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from keyvault.core import limits
from keyvault.core.errors import Malformed


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """PEM: the authority that the server's certificate must come from, and our certificate chain and key."""

    ca: bytes
    certificate: bytes
    private_key: bytes = field(repr=False)

    @classmethod
    def from_files(cls, ca: str | Path, certificate: str | Path, private_key: str | Path) -> "Credentials":
        """Return the credentials in these PEM files. Raises OSError, or Malformed for a file that is too long."""
        return cls(ca=read_small(ca), certificate=read_small(certificate), private_key=read_small(private_key))

    def for_channel(self) -> grpc.ChannelCredentials:
        """Return them as gRPC wants them."""
        return grpc.ssl_channel_credentials(self.ca, self.private_key, self.certificate)


def read_small(path: str | Path) -> bytes:
    """Return the contents of a file that holds a key or certificates; Malformed if it is longer than such files are."""
    with Path(path).open("rb") as file:
        data = file.read(limits.SECRET_FILE_BYTES_MAX + 1)
    if len(data) > limits.SECRET_FILE_BYTES_MAX:
        raise Malformed(str(path), f"is longer than {limits.SECRET_FILE_BYTES_MAX} bytes: not a key or a certificate")
    return data
