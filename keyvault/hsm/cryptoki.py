"""The few C calls that python-pkcs11 does not make, or makes wrongly for us.

``C_Initialize`` must ask for locking: python-pkcs11 passes NULL yet releases the GIL around every call, so SoftHSM
runs without mutexes and two threads crash it. ``C_InitToken`` and ``C_GetSessionInfo`` it does not have. Values of
objects it gives and takes as ``bytes``, which nobody can erase: a secret is read into, and made from, a buffer of ours.

Layouts are those of PKCS#11 2.40 (pkcs11t.h, pkcs11f.h) on Linux: natural alignment, CK_ULONG is unsigned long.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path

from keyvault.hsm.locked import Buffer

CKR_OK = 0
_CKF_OS_LOCKING_OK = 0x02
_LABEL_BYTES = 32
_FUNCTIONS_OFFSET = ctypes.sizeof(ctypes.c_void_p)
"""CK_FUNCTION_LIST starts with a two-byte CK_VERSION, padded to the alignment of the pointers that follow."""

# Positions of the functions in CK_FUNCTION_LIST.
_C_INITIALIZE = 0
_C_FINALIZE = 1
_C_INIT_TOKEN = 9
_C_GET_SESSION_INFO = 15
_C_CREATE_OBJECT = 20
_C_GET_ATTRIBUTE_VALUE = 24

_CKA_VALUE = 0x11

_USER_STATES = frozenset({1, 3})
"""CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS."""


class CryptokiError(Exception):
    """A C call failed with this CKR value."""

    def __init__(self, function: str, value: int) -> None:
        super().__init__(f"{function} failed with CKR 0x{value:x}")
        self.value = value


class _InitializeArguments(ctypes.Structure):
    _fields_ = (
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _SessionInfo(ctypes.Structure):
    _fields_ = (
        ("slot_id", ctypes.c_ulong),
        ("state", ctypes.c_ulong),
        ("flags", ctypes.c_ulong),
        ("device_error", ctypes.c_ulong),
    )


class _Attribute(ctypes.Structure):
    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("size", ctypes.c_ulong))


class Cryptoki:
    """A loaded PKCS#11 module. It stays loaded until the process ends: sessions keep pointers into it."""

    def __init__(self, module: Path) -> None:
        """Load the module. Raises OSError if it cannot be loaded, AttributeError if it is no PKCS#11 module."""
        self._library = ctypes.CDLL(str(module))
        functions = ctypes.c_void_p()
        _check("C_GetFunctionList", self._library.C_GetFunctionList(ctypes.byref(functions)))
        if functions.value is None:
            raise AttributeError("C_GetFunctionList gave no functions")
        self._functions = functions.value

    def initialize(self) -> None:
        """Initialise the module so that threads may use it at once. Raises CryptokiError.

        Also when it is initialised already: somebody else did it, perhaps without locking.
        """
        arguments = _InitializeArguments(flags=_CKF_OS_LOCKING_OK)
        function = self._function(_C_INITIALIZE, ctypes.c_void_p)
        _check("C_Initialize", function(ctypes.addressof(arguments)))

    def finalize(self) -> None:
        """Undo ``initialize``; sessions and handles are gone then. Raises CryptokiError."""
        _check("C_Finalize", self._function(_C_FINALIZE, ctypes.c_void_p)(None))

    def init_token(self, slot_id: int, so_pin: bytes, label: str) -> None:
        """Make the slot's token new under this label, with this security officer PIN. Erases what was in it."""
        padded = label.encode("ascii").ljust(_LABEL_BYTES)
        if len(padded) != _LABEL_BYTES:
            raise ValueError(f"a token label has at most {_LABEL_BYTES} characters")
        function = self._function(_C_INIT_TOKEN, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
        _check("C_InitToken", function(slot_id, so_pin, len(so_pin), padded))

    def logged_in(self, session: int) -> bool:
        """Return whether the user is logged in, as the session with this handle sees it. Raises CryptokiError."""
        info = _SessionInfo()
        function = self._function(_C_GET_SESSION_INFO, ctypes.c_ulong, ctypes.c_void_p)
        _check("C_GetSessionInfo", function(session, ctypes.addressof(info)))
        return info.state in _USER_STATES

    def read_value(self, session: int, handle: int, into: Buffer) -> None:
        """Fill the buffer with the object's CKA_VALUE, which must have its size. Raises CryptokiError, ValueError."""
        wanted = _Attribute(_CKA_VALUE, ctypes.addressof(into), len(into))
        function = self._function(
            _C_GET_ATTRIBUTE_VALUE, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong
        )
        _check("C_GetAttributeValue", function(session, handle, ctypes.addressof(wanted), 1))
        if wanted.size != len(into):
            raise ValueError(f"the value has {wanted.size} bytes, not {len(into)}")

    def create_object(self, session: int, attributes: Mapping[int, bytes], value: Buffer) -> None:
        """Make an object with these attributes, by type, and the buffer as its CKA_VALUE. Raises CryptokiError."""
        held = [ctypes.create_string_buffer(content, max(1, len(content))) for content in attributes.values()]
        template = (_Attribute * (len(attributes) + 1))(
            *(
                _Attribute(kind, ctypes.addressof(buffer), len(content))
                for (kind, content), buffer in zip(attributes.items(), held, strict=True)
            ),
            _Attribute(_CKA_VALUE, ctypes.addressof(value), len(value)),
        )
        handle = ctypes.c_ulong()
        function = self._function(_C_CREATE_OBJECT, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p)
        _check(
            "C_CreateObject",
            function(session, ctypes.addressof(template), len(template), ctypes.addressof(handle)),
        )

    def _function(self, position: int, *arguments: type) -> "ctypes._CFunctionType":
        address = ctypes.c_void_p.from_address(self._functions + _FUNCTIONS_OFFSET + position * _FUNCTIONS_OFFSET)
        if address.value is None:
            raise AttributeError(f"the module has no function at position {position}")
        return ctypes.CFUNCTYPE(ctypes.c_ulong, *arguments)(address.value)


def _check(function: str, value: int) -> None:
    if value != CKR_OK:
        raise CryptokiError(function, value)
