"""The process that verifies what a worker signed. It has neither token nor PIN, and never loads a PKCS#11 module.

It is a process because verification is as dear as signing: threads of the server would take the interpreter lock
from the event loop a hundred times per batch. It is not the worker, because a worker must not vouch for itself.

One batch in, one verdict per item out, until the socket ends.
"""

import os
import socket
import sys
from typing import NoReturn

from google.protobuf.message import DecodeError

from keyvault.hsm import frames, wire
from keyvault.hsm.base import SignItem
from keyvault.hsm.harden import harden
from keyvault.hsm.verify import WrongSignature, verified
from keyvault.v1 import worker_pb2


def main() -> NoReturn:
    """Serve the inherited socket that the only argument names. Does not return."""
    harden()
    stream = socket.socket(fileno=int(sys.argv[1]))
    try:
        while True:
            batch = worker_pb2.CheckBatch.FromString(frames.receive(stream))
            frames.send(stream, check(batch).SerializeToString())
    except (OSError, DecodeError):  # the server is gone or talks nonsense
        os._exit(0)


def check(batch: worker_pb2.CheckBatch) -> worker_pb2.CheckedBatch:
    """Return a verdict per item, in order."""
    checked = worker_pb2.CheckedBatch()
    for item in batch.items:
        try:
            signature = verified(_item(item), item.signature)
        except (WrongSignature, KeyError) as error:
            checked.results.add(wrong=str(error) or type(error).__name__)
        else:
            checked.results.add(value=signature.value, recovery_id=signature.recovery_id)
    return checked


def _item(item: worker_pb2.CheckBatch.Item) -> SignItem:
    algorithm = wire.algorithm_from_wire(item.algorithm)
    return SignItem(object_id=b"", algorithm=algorithm, public_key=item.public_key, input=item.input)


if __name__ == "__main__":
    main()
