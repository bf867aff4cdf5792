"""Who is calling: exactly one SPIFFE id in the client certificate that TLS verified."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

import grpc

from keyvault.core.errors import Malformed
from keyvault.core.ids import Principal, parse_principal, role_of

Context = grpc.aio.ServicerContext[Any, Any]
"""One call, whatever its messages are."""

READERS = ("admin", "approver", "auditor")
"""Roles that may read keys, policy, charter, proposals and the ledger."""
_SAN = "x509_subject_alternative_name"
PRINCIPAL_KEY = "keyvault-principal"
"""Metadata by which a node says for whom it passes a call on."""


class Door:
    """Admits callers of one trust domain by role."""

    def __init__(self, trust_domain: str, nodes: Collection[Principal] = ()) -> None:
        """``nodes`` are the other nodes of the enclave: they are believed for whom they pass a call on.

        In which calls, ``rpc.forward`` decides before anything comes here; in no other does a node speak for others.
        """
        self._prefix = f"spiffe://{trust_domain}/"
        self._nodes = frozenset(nodes)

    async def admit(self, context: Context, *roles: str) -> Principal:
        """Return the caller, or end the call: UNAUTHENTICATED without a usable id, PERMISSION_DENIED for other roles.

        No roles means that every role may call.
        """
        try:
            principal = self._caller(context)
        except Malformed as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        if not principal.startswith(self._prefix):
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, f"{principal} is not of the trust domain {self._prefix}"
            )
        if roles and role_of(principal) not in roles:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"{principal} may not call this: it needs role {' or '.join(roles)}"
            )
        return principal

    def _caller(self, context: Context) -> Principal:
        """Return who calls, or for whom a node does. Raises Malformed, also for what only nodes may say."""
        principal = _principal(tuple(context.auth_context().get(_SAN, ())))
        said = [value for key, value in context.invocation_metadata() or () if key == PRINCIPAL_KEY]
        if not said:
            return principal
        if principal not in self._nodes or len(said) != 1 or not isinstance(said[0], str):
            raise Malformed("metadata", f"{PRINCIPAL_KEY} is for calls that one of the enclave's nodes passes on")
        return parse_principal(said[0])


@lru_cache(maxsize=4_096)
def _principal(names: Iterable[bytes]) -> Principal:
    ids = [name for name in names if name.startswith(b"spiffe://")]
    if len(ids) != 1:
        raise Malformed(
            "certificate", f"must have exactly one spiffe:// URI as subject alternative name, has {len(ids)}"
        )
    return parse_principal(ids[0].decode("ascii", "replace"))
