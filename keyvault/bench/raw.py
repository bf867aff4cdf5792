"""The yardstick of the token: ``python -m keyvault.bench.raw``, python-pkcs11 in one thread of one process.

No worker, no batch, no verification: only ``C_Sign``, as often as it goes. The process is the same as a token worker
otherwise: hardened, the PIN read from its file by itself, locking on. It reads lines ``KIND SECONDS`` and answers each
with signatures per second.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from keyvault import intents
from keyvault.bench.options import ALGORITHMS, Kind
from keyvault.bench.requests import sample
from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.harden import harden
from keyvault.hsm.pin import read_pin
from keyvault.hsm.token import Session, Token
from keyvault.hsm.token.keys import SIGN_MECHANISMS

_BUFFER_BYTES = 128
_SIGNATURES_BETWEEN_LOOKS = 16
"""Signatures between two looks at the clock."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer until the end of stdin; return 0."""
    options = _parser().parse_args(arguments)
    harden()
    token = Token(module=options.module, label=options.label, lock_file=options.lock_file)
    token.log_in(read_pin(options.pin_file))
    session = Session(token)
    objects = {Kind(name): bytes.fromhex(object_id) for name, object_id in options.key}
    for line in sys.stdin:
        name, seconds = line.split()
        kind = Kind(name)
        message = intents.parse(sample(kind), intents.ANYBODY).signing_input
        rate = _rate(session, objects[kind], ALGORITHMS[kind], message, float(seconds))
        sys.stdout.write(f"{rate:.1f}\n")
        sys.stdout.flush()
    return 0


def _rate(session: Session, object_id: bytes, algorithm: KeyAlgorithm, message: bytes, seconds: float) -> float:
    # Session.sign would verify each HMAC in the token: half the rate, and not what the bare token can do.
    key = session._resolve(object_id, algorithm)  # noqa: SLF001  see above
    mechanism = SIGN_MECHANISMS[algorithm]
    count, began = 0, time.perf_counter()
    end = now = began + seconds
    while count == 0 or now < end:
        for _ in range(_SIGNATURES_BETWEEN_LOOKS):
            key.sign(message, mechanism=mechanism, buffer_size=_BUFFER_BYTES)
        count += _SIGNATURES_BETWEEN_LOOKS
        now = time.perf_counter()
    return count / (now - began)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keyvault.bench.raw", description="Started by `keyvault bench`.")
    parser.add_argument("--module", type=Path, required=True, help="PKCS#11 module")
    parser.add_argument("--label", required=True, help="label of the token")
    parser.add_argument("--pin-file", type=Path, required=True, help="file with the user PIN, mode 0600")
    parser.add_argument("--lock-file", type=Path, required=True, help="file to lock while objects are looked up")
    parser.add_argument("--key", nargs=2, action="append", required=True, help="kind, and CKA_ID as hex digits")
    return parser


if __name__ == "__main__":
    sys.exit(main())
