"""The real worker on a PKCS#11 module whose function table was patched: faulty_worker.py FAULT TRIGGER JOURNAL ...

Fails once, at the next C_Sign after the file TRIGGER appeared, and removes the file. Every C_Login is noted in JOURNAL.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from keyvault.hsm import worker

C_LOGIN, C_LOGOUT, C_SIGN = 18, 19, 43
POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)
LOGIN = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong)
LOGOUT = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong)
SIGN = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    *(ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.POINTER(ctypes.c_ulong)),
)


def main() -> None:
    """Patch, then be the worker."""
    fault, trigger, journal = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    arguments = sys.argv[4:]
    library = ctypes.CDLL(arguments[arguments.index("--module") + 1])
    table = ctypes.c_void_p()
    library.C_GetFunctionList(ctypes.byref(table))
    base = (table.value or 0) + POINTER_BYTES

    def slot(position: int) -> ctypes.c_void_p:
        return ctypes.c_void_p.from_address(base + position * POINTER_BYTES)

    real_login, real_sign = LOGIN(slot(C_LOGIN).value or 0), SIGN(slot(C_SIGN).value or 0)
    logout = LOGOUT(slot(C_LOGOUT).value or 0)
    last = bytes(64)

    def login(session: int, user: int, pin: int, size: int) -> int:
        with journal.open("a") as file:
            file.write("login\n")
        return int(real_login(session, user, pin, size))

    def sign(session: int, data: int, size: int, out: int, out_size: "ctypes._Pointer[ctypes.c_ulong]") -> int:
        nonlocal last
        if out and fault.startswith("ckr-") and triggered(trigger):
            return int(fault.removeprefix("ckr-"), 16)
        if out and fault == "logout" and triggered(trigger):
            return int(logout(session)) or 0xB3
        value = int(real_sign(session, data, size, out, out_size))
        if out and value == 0:
            signature = (ctypes.c_char * out_size[0]).from_address(out)
            mine = signature.raw
            if fault in AFTER and triggered(trigger):
                AFTER[fault](signature, last, out_size, arguments)
            last = mine
        return value

    kept = (LOGIN(login), SIGN(sign))
    slot(C_LOGIN).value = ctypes.cast(kept[0], ctypes.c_void_p).value
    slot(C_SIGN).value = ctypes.cast(kept[1], ctypes.c_void_p).value
    worker.main(arguments)


def triggered(trigger: Path) -> bool:
    """Return whether it is now, for one caller among all workers."""
    try:
        trigger.unlink()
    except FileNotFoundError:
        return False
    return True


Out: TypeAlias = "ctypes.Array[ctypes.c_char]"
Size: TypeAlias = "ctypes._Pointer[ctypes.c_ulong]"


def _hang(_signature: Out, _last: bytes, _size: Size, _arguments: list[str]) -> None:
    threading.Event().wait()


def _die(_signature: Out, _last: bytes, _size: Size, _arguments: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _corrupt(signature: Out, _last: bytes, _size: Size, _arguments: list[str]) -> None:
    signature.raw = signature.raw[:40] + bytes((signature.raw[40] ^ 1,)) + signature.raw[41:]


def _corrupt_hmac(signature: Out, _last: bytes, _size: Size, _arguments: list[str]) -> None:
    signature.raw = bytes((signature.raw[0] ^ 1,)) + signature.raw[1:]


def _replay(signature: Out, last: bytes, _size: Size, _arguments: list[str]) -> None:
    signature.raw = last


def _short(_signature: Out, _last: bytes, size: Size, _arguments: list[str]) -> None:
    size[0] -= 1


def _babble(_signature: Out, _last: bytes, _size: Size, arguments: list[str]) -> None:
    os.write(int(arguments[arguments.index("--lane") + 1]), b"\xff" * 64)


AFTER: dict[str, Callable[[Out, bytes, Size, list[str]], None]] = {
    "hang": _hang,
    "die": _die,
    "corrupt": _corrupt,
    "corrupt-hmac": _corrupt_hmac,
    "replay": _replay,
    "short": _short,
    "babble": _babble,
}

if __name__ == "__main__":
    main()
