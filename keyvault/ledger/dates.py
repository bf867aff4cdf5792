"""When an entry says that it was decided, without reading the rest: for whoever looks at it before it is believed."""

from google.protobuf.message import DecodeError

from keyvault.core.errors import Corrupt
from keyvault.core.ids import UnixMillis
from keyvault.v1 import event_pb2


def dated(body: bytes) -> UnixMillis:
    """Return the entry's time. Raises Corrupt if it is no event; that it is one ``codec.decode`` finds out."""
    try:
        return UnixMillis(event_pb2.Event.FromString(body).at_ms)
    except DecodeError as error:
        raise Corrupt(f"the entry cannot be parsed: {error}") from error
