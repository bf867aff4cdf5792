"""One conversation with a server, for commands: connect, ask, close."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keyvault.cli.pki import load_member_key
from keyvault.cli.target import Approver, Target
from keyvault.client import AsyncClient, Credentials
from keyvault.client.statements import MemberKey
from keyvault.secretfile import check_secret_file

T = TypeVar("T")


def call(target: Target, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
    """Return what ``work`` returns, given a client of the target. Raises what the client raises, and UnsafeFile."""
    check_secret_file(target.private_key)
    credentials = Credentials.from_files(target.ca, target.certificate, target.private_key)

    async def conversation() -> T:
        client = AsyncClient(
            target.address,
            credentials,
            enclave=target.enclave,
            deadline_s=target.timeout_s,
            expected_log_vkey=target.log_vkey,
        )
        async with client:
            return await work(client)

    return asyncio.run(conversation())


def signer(approver: Approver) -> MemberKey:
    """Return the approval key; raise UnsafeFile or PkiError if the file is not safe or holds none."""
    return MemberKey(approver.name, load_member_key(approver.path))
