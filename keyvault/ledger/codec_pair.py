"""Who leads a pair as a protobuf message, and back."""

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.events import PairSet
from keyvault.core.ids import Epoch, UnixMillis, parse_principal
from keyvault.ledger.wire import sha256_of
from keyvault.v1 import event_pb2


def write(message: event_pb2.PairSet, event: PairSet) -> None:
    """Write the fact."""
    message.leader = event.leader
    message.followers.extend(event.followers)
    message.proposal = event.proposal
    message.charter_sha256 = event.charter_sha256


def read(at: UnixMillis, epoch: Epoch, message: event_pb2.PairSet) -> PairSet:
    """Return the fact, or raise Malformed."""
    if len(message.followers) > limits.PAIR_FOLLOWERS_MAX:
        raise Malformed("followers", f"at most {limits.PAIR_FOLLOWERS_MAX}")
    return PairSet(
        at=at,
        epoch=epoch,
        leader=parse_principal(message.leader),
        followers=tuple(map(parse_principal, message.followers)),
        proposal=sha256_of("proposal", message.proposal),
        charter_sha256=sha256_of("charter_sha256", message.charter_sha256),
    )
