from collections.abc import Sequence

import pytest

from keyvault.client import AsyncClient, Client, Credentials, InvalidRequest
from keyvault.client.addresses import Addresses, parse_addresses
from keyvault.core import limits
from keyvault.core.errors import Malformed

NOBODY = Credentials(ca=b"", certificate=b"", private_key=b"")


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        ("a:7443", ("a:7443",)),
        (" a:7443 ", ("a:7443",)),
        ("dns:///a.example:7443", ("dns:///a.example:7443",)),
        ("a:7443,b:7443,c:7444", ("a:7443", "b:7443", "c:7444")),
        ("A.Example:7443, b_2.example:1", ("a.example:7443", "b_2.example:1")),
        (["10.0.0.1:7443", "[2001:DB8::1]:65535"], ("10.0.0.1:7443", "[2001:db8::1]:65535")),
        (("a:7443",), ("a:7443",)),
    ],
)
def test_addresses_are_read(target: str | Sequence[str], addresses: tuple[str, ...]) -> None:
    """A text with commas and a sequence mean the same; one address alone stays as it is."""
    assert parse_addresses(target) == addresses


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("", "names no server"),
        (" , ", "names no server"),
        ((), "names no server"),
        ("a:7443,", "'' is not host:port"),
        ("a:7443,b", "'b' is not host:port"),
        ("a:7443,b:0", "'b:0' is not host:port"),
        ("a:7443,b:65536", "'b:65536' is not host:port"),
        ("a:7443,::1:7443", "'::1:7443' is not host:port"),
        ("ipv4:10.0.0.1:7443,10.0.0.2:7443", "'ipv4:10.0.0.1:7443' is not host:port"),
        (["a:7443,b:7443", "c:7443"], "'a:7443,b:7443' is not host:port"),
        ("a:7443,b:7443,A:7443", "names a:7443 twice"),
        ([f"a{n}:7443" for n in range(limits.CLIENT_ADDRESSES_MAX + 1)], "names 9 servers; 8 are the most"),
    ],
)
def test_addresses_are_checked(target: str | Sequence[str], problem: str) -> None:
    """Each of several addresses is host and port and stands there once; or no client is made, and it says why."""
    with pytest.raises(Malformed) as caught:
        parse_addresses(target)
    assert caught.value.problem.startswith(problem)
    for kind in (AsyncClient, Client):
        with pytest.raises(InvalidRequest) as refused:
            kind(target, NOBODY, enclave="hot")
        assert refused.value.field == "target"


def test_only_ours_are_found() -> None:
    """An address is found as it was given, whatever its case; a like one of somebody else's is not."""
    ours = Addresses(("a.example:7443", "b.example:7443"))
    assert (ours.index_of("B.example:7443"), ours.index_of("a.example:7443")) == (1, 0)
    for other in ("", "c.example:7443", "a.example", "a.example:744", "a.example:7443,b.example:7443"):
        assert ours.index_of(other) is None


def test_attempts_are_short_where_there_is_another_server() -> None:
    """One attempt has three seconds at a server that is alone, and one where another can be asked, unless told else."""
    for target, given, expected in (("a:1", None, 3), ("a:1,b:1", None, 1), ("a:1,b:1", 2.5, 2.5), ("a:1", 20, 10)):
        assert (
            AsyncClient(target, NOBODY, enclave="hot", attempt_deadline_s=given).transport.attempt_deadline_s
            == expected
        )
