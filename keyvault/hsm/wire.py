"""Words that the server and its workers share, and their protobuf form."""

from enum import IntEnum

from keyvault.core.keys import KeyAlgorithm
from keyvault.v1 import types_pb2

TRIAL_DIGEST = bytes(range(32))
"""What a self-test signs with a key that lives for this one signature."""
TRIAL_OBJECT_ID = b"keyvault-trial"
TRIAL_COPY_OBJECT_ID = b"keyvault-trial-copy"
TRIAL_HMAC_SECRET = bytes(range(32, 96))
"""Everybody knows it: the self-test's HMACs have known answers. 64 bytes: every HMAC takes it as it is."""

_TO_WIRE = {algorithm: types_pb2.KeyAlgorithm.Value(f"KEY_ALGORITHM_{algorithm.value}") for algorithm in KeyAlgorithm}
_FROM_WIRE = {number: algorithm for algorithm, number in _TO_WIRE.items()}


class ExitCode(IntEnum):
    """How a worker ends."""

    CLOSED = 0
    """The server closed its sockets."""
    RETIRED = 70
    """The device or the library is in doubt."""
    PIN_REFUSED = 71
    """The token refused the PIN."""
    NOT_STARTED = 72
    """The configuration is wrong; the worker said what."""


def algorithm_to_wire(algorithm: KeyAlgorithm) -> types_pb2.KeyAlgorithm.ValueType:
    """Return the protobuf enum's value."""
    return _TO_WIRE[algorithm]


def algorithm_from_wire(number: types_pb2.KeyAlgorithm.ValueType) -> KeyAlgorithm:
    """Return the algorithm; raises KeyError for a number that this build does not know."""
    return _FROM_WIRE[number]
