"""The real worker on a PKCS#11 module whose function table was patched: faulty_worker.py FAULT TRIGGER JOURNAL ...

Fails once, at the next C_Sign or C_DestroyObject after the file TRIGGER appeared, and removes the file. What concerns
C_UnwrapKey, and "without", is so from the start. With "reuse", while TRIGGER is there, the handle of the last key but
one that was used is the last one's. With "dies-before:C_X:N" or "dies-after:C_X:N", the worker dies in the Nth call of
that function while TRIGGER is there. With "trusts" every key reads as CKA_TRUSTED. Every C_Login is noted in JOURNAL.
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

C_LOGIN, C_LOGOUT, C_DESTROY_OBJECT, C_SIGN_INIT, C_SIGN, C_VERIFY_INIT = 18, 19, 22, 42, 43, 48
C_GENERATE_KEY, C_UNWRAP_KEY, C_GET_ATTRIBUTE_VALUE = 58, 61, 24
CALLS = {
    "C_CreateObject": (20, 4),
    "C_CopyObject": (21, 5),
    "C_DestroyObject": (C_DESTROY_OBJECT, 2),
    "C_Sign": (C_SIGN, 5),
    "C_GenerateKey": (C_GENERATE_KEY, 5),
    "C_GenerateKeyPair": (59, 8),
    "C_WrapKey": (60, 6),
    "C_UnwrapKey": (C_UNWRAP_KEY, 8),
}
"""Position in CK_FUNCTION_LIST, and how many arguments, each of the size of a pointer."""
POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)
LOGIN = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong)
LOGOUT = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong)
SIGN = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    *(ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.POINTER(ctypes.c_ulong)),
)
DESTROY = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
INIT = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.POINTER(ctypes.c_ulong), ctypes.c_ulong)
GET = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong)
GENERATE = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    *(ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p),
)
UNWRAP = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    *(ctypes.c_ulong, ctypes.POINTER(ctypes.c_ulong), ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong),
    *(ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p),
)
CKM_GENERIC_SECRET_KEY_GEN, CKM_AES_KEY_WRAP_PAD, CKM_AES_KEY_WRAP_KWP = 0x350, 0x210A, 0x210B
CKA_TRUSTED, CKA_VALUE_LEN = 0x86, 0x161
CKR_FUNCTION_FAILED, CKR_MECHANISM_INVALID = 0x06, 0x70
HMACS = {"without-HMAC_SHA256": 0x251, "without-HMAC_SHA512": 0x271}
"""The mechanism that the token has not: CKM_SHA256_HMAC, CKM_SHA512_HMAC."""


Call: TypeAlias = Callable[..., int]
Numbers: TypeAlias = "ctypes._Pointer[ctypes.c_ulong]"


class Attribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("size", ctypes.c_ulong))


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

    destroy = destroying(fault, trigger, DESTROY(slot(C_DESTROY_OBJECT).value or 0), logout)
    unwrap = unwrapping(fault, UNWRAP(slot(C_UNWRAP_KEY).value or 0), GENERATE(slot(C_GENERATE_KEY).value or 0))
    patches: dict[int, ctypes._CFunctionType] = {
        C_LOGIN: LOGIN(login),
        C_SIGN: SIGN(sign),
        C_DESTROY_OBJECT: DESTROY(destroy),
        C_UNWRAP_KEY: UNWRAP(unwrap),
    }
    used: list[int] = []
    for position in (C_SIGN_INIT, C_VERIFY_INIT):
        real = INIT(slot(position).value or 0)
        patches[position] = INIT(reusing(trigger, real, used) if fault == "reuse" else lacking(HMACS.get(fault), real))
    patches.update(transporting(fault, trigger, slot))
    for position, patch in patches.items():
        slot(position).value = ctypes.cast(patch, ctypes.c_void_p).value
    worker.main(arguments)


def destroying(fault: str, trigger: Path, real: Call, logout: Call) -> Call:
    """Return a C_DestroyObject with this fault; "destroy-lies" says yes and does nothing."""

    def destroy(session: int, handle: int) -> int:
        if not (fault.startswith("destroy-") and triggered(trigger)):
            return real(session, handle)
        if fault == "destroy-fails":
            return CKR_FUNCTION_FAILED
        if fault == "destroy-logs-out":
            logout(session)
        if fault == "destroy-dies":
            real(session, handle)
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    return destroy


def transporting(
    fault: str, trigger: Path, slot: Callable[[int], ctypes.c_void_p]
) -> "dict[int, ctypes._CFunctionType]":
    """Return the patches for "dies-..." and "trusts", by position."""
    if fault == "trusts":
        return {C_GET_ATTRIBUTE_VALUE: GET(trusting(GET(slot(C_GET_ATTRIBUTE_VALUE).value or 0)))}
    if not fault.startswith("dies-"):
        return {}
    position, count = CALLS[fault.split(":")[1]]
    call = ctypes.CFUNCTYPE(ctypes.c_ulong, *(ctypes.c_void_p,) * count)
    return {position: call(dying(fault, trigger, call(slot(position).value or 0)))}


def dying(fault: str, trigger: Path, real: Call) -> Call:
    """Return a function in whose Nth call the worker dies."""
    when, _, number = fault.split(":")
    left = int(number)

    def call(*arguments: int) -> int:
        nonlocal left
        left -= trigger.exists()
        now = left == 0 and triggered(trigger)
        if now and when == "dies-before":
            os.kill(os.getpid(), signal.SIGKILL)
        value = real(*arguments)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    return call


def trusting(real: Call) -> Call:
    """Return a C_GetAttributeValue for which the security officer trusts every key."""

    def get(session: int, handle: int, template: int, count: int) -> int:
        value = real(session, handle, template, count)
        for one in (Attribute * count).from_address(template):
            if one.type == CKA_TRUSTED and one.value and one.size == 1:
                ctypes.memset(one.value, 1, 1)
        return value

    return get


def reusing(trigger: Path, real: Call, used: list[int]) -> Call:
    """Return a C_SignInit or C_VerifyInit for which a handle may come to mean another key."""

    def init(session: int, mechanism: Numbers, handle: int) -> int:
        if trigger.exists():
            return real(session, mechanism, used[-1] if handle == used[-2] else handle)
        if handle not in used[-1:]:
            used.append(handle)
        return real(session, mechanism, handle)

    return init


def lacking(number: int | None, real: Call) -> Call:
    """Return a C_SignInit or C_VerifyInit that does not know the mechanism with this number."""

    def init(session: int, mechanism: Numbers, handle: int) -> int:
        return CKR_MECHANISM_INVALID if mechanism[0] == number else real(session, mechanism, handle)

    return init


def unwrapping(fault: str, real: Call, generate_key: Call) -> Call:
    """Return a C_UnwrapKey with this fault: no AES-KWP, under its standard number, or under both with one a liar."""

    def unwrap(session: int, mechanism: Numbers, *arguments: int) -> int:
        number = mechanism[0]
        if number == CKM_AES_KEY_WRAP_PAD and fault in {"kwp-none", "kwp-standard"}:
            return CKR_MECHANISM_INVALID
        if number == CKM_AES_KEY_WRAP_KWP and fault == "kwp-lies":
            _key, _wrapped, _size, template, count, handle = arguments
            return _another_key(generate_key, session, template, count, handle)
        if number == CKM_AES_KEY_WRAP_KWP and fault == "kwp-standard":
            mechanism[0] = CKM_AES_KEY_WRAP_PAD
        return real(session, mechanism, *arguments)

    return unwrap


def _another_key(generate_key: Call, session: int, template: int, count: int, handle: int) -> int:
    """Make a random secret where one should have been unwrapped."""
    size = ctypes.c_ulong(32)
    attributes = (Attribute * (count + 1))(*(Attribute * count).from_address(template))
    attributes[count] = Attribute(CKA_VALUE_LEN, ctypes.addressof(size), ctypes.sizeof(size))
    mechanism = (ctypes.c_ulong * 3)(CKM_GENERIC_SECRET_KEY_GEN)
    return generate_key(session, ctypes.addressof(mechanism), ctypes.addressof(attributes), count + 1, handle)


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
