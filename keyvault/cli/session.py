"""One conversation with a server, for commands: connect, ask, close."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from keyvault.cli.approver_key import open_signer
from keyvault.cli.exits import AuthenticationFailed, UsageProblem
from keyvault.cli.target import ChosenMember, Target
from keyvault.client import AsyncClient, Credentials, OtherLog, Unavailable
from keyvault.client.credentials import read_small
from keyvault.client.statements import MemberSigner
from keyvault.secretfile import check_secret_file

T = TypeVar("T")


def call(target: Target, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
    """Return what ``work`` returns, given a client of the target. Raises what the client raises, and UnsafeFile."""
    check_secret_file(target.private_key)
    credentials = Credentials.from_files(target.ca, target.certificate, target.private_key)

    ours, authorities = _certificates(target.certificate)[0], _certificates(target.ca)

    async def conversation() -> T:
        client = AsyncClient(
            target.addresses,
            credentials,
            enclave=target.enclave,
            deadline_s=target.timeout_s,
            expected_log_vkey=target.log_vkey,
        )
        async with client:
            await _check_pin(client, target)
            return await work(client)

    try:
        return asyncio.run(conversation())
    except Unavailable as error:
        problem = None if error.reason else _unacceptable(ours, authorities)
        if problem is None:
            raise
        raise AuthenticationFailed(f"{target.certificate}: {problem}; the server closed the connection") from error


async def _check_pin(client: AsyncClient, target: Target) -> None:
    """Raise OtherLog if the ledger's key is pinned and the server's is another: then it is asked nothing."""
    if target.log_vkey is None:
        return
    try:
        await client.get_enclave()
    except OtherLog as other:
        other.add_note(
            f"{target.pinned_by} says which one is expected. Compare both with what `keyvault init` printed: if the"
            " file is wrong, give the right one with --vkey-file; if it is right, another server answers: do not use"
            " it, and tell your security team."
        )
        raise


def signer(member: ChosenMember) -> MemberSigner:
    """Return the member's approval key, ready to sign; asks for a passphrase or a PIN where one is needed.

    Raises UsageProblem, UnsafeFile, Malformed, AgentProblem or TokenKeyProblem, all KeyvaultError.
    """
    return open_signer(
        member.reference, member=member.name, passphrase_file=member.passphrase_file, pin_file=member.pin_file
    )


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read_small(path))
    except ValueError:
        raise UsageProblem(f"{path}: holds no certificate in PEM form") from None


def _unacceptable(ours: x509.Certificate, authorities: list[x509.Certificate]) -> str | None:
    """Return what is visibly wrong with our certificate: with TLS 1.3 a server that refuses it only hangs up."""
    now = datetime.now(UTC)
    if not ours.not_valid_before_utc <= now <= ours.not_valid_after_utc:
        return f"is valid from {ours.not_valid_before_utc:%F} to {ours.not_valid_after_utc:%F} only"
    if all(ours.issuer != each.subject or not _issued(ours, each) for each in authorities):
        return "is not from the authority in --ca"
    return None


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
