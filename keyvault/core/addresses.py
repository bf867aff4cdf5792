"""What an address of a server looks like: ``host:port`` or ``[IPv6 address]:port``, and nothing else.

Addresses come from configuration, from callers, and from a row of a shared database that whoever holds a node's login
can write. None is dialled, shown or passed to somebody else before it was held against this: gRPC takes more for a
target (sockets in the file system, name servers of the writer's choice), and a terminal takes everything.
"""

import re

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9._-]{0,252}):([1-9][0-9]{0,4})", re.ASCII)
_PORT_MAX = 65_535


def is_address(text: str) -> bool:
    """Return whether this is an address: at most 259 visible ASCII characters, with a port from 1 to 65 535."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and int(match[1]) <= _PORT_MAX
