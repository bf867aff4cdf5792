"""Where the servers of one enclave are: one address, or several that stand for one another."""

from collections.abc import Sequence

from keyvault.core import limits
from keyvault.core.addresses import is_address
from keyvault.core.errors import Malformed


def parse_addresses(target: str | Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of ``"a:7443,b:7443"``, or of a sequence of them, in this order and in lower case.

    An address that stands alone is returned as it is: it may be anything that gRPC takes for a target.

    Raises Malformed for no address, more than CLIENT_ADDRESSES_MAX, one that is not ``host:port``, and one that stands
    there twice: it would be asked twice before anybody waits.
    """
    parts = target.split(",") if isinstance(target, str) else target
    texts = [part.strip() for part in parts]
    if not any(texts):
        raise Malformed("target", "names no server; host:port is needed, or several with commas between them")
    if len(texts) > limits.CLIENT_ADDRESSES_MAX:
        raise Malformed("target", f"names {len(texts)} servers; {limits.CLIENT_ADDRESSES_MAX} are the most")
    if len(texts) == 1:
        return (texts[0],)
    addresses = tuple(map(_address, texts))
    for address in addresses:
        if addresses.count(address) > 1:
            raise Malformed("target", f"names {address} twice")
    return addresses


class Addresses:
    """The addresses of one client, and which of them answered last: what all its calls know of the servers."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.all = addresses
        self.last = 0
        """Index of the address that answered last: where the leader most likely is."""

    def index_of(self, address: str) -> int | None:
        """Return where ``address`` stands; None if it is none of ours, so that no server can send us elsewhere."""
        wanted = address.lower()
        return next((index for index, each in enumerate(self.all) if each == wanted), None)


def _address(text: str) -> str:
    if not is_address(text):
        raise Malformed("target", f"{text[:100]!r} is not host:port, nor [IPv6 address]:port")
    return text.lower()
