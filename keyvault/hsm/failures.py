"""What a worker does about each PKCS#11 error: one table, by the error's name.

- KEEP    the request was wrong; the session is good
- REOPEN  the session or a handle is stale, or the token is busy: a new session, and the operation once more
- LATCH   the PIN was refused: never again, a token locks itself after few attempts
- RETIRE  the device or the library is in doubt: this process ends and is replaced

An error that is not in the table costs the session (REOPEN): after an error of an unknown kind an operation may
still be active in it. PKCS#11 2.40, section 5.1.6, describes the errors; reference for the classes: aws-kms-xks-proxy.
"""

from enum import StrEnum


class Remedy(StrEnum):
    """What is done about an error."""

    KEEP = "KEEP"
    REOPEN = "REOPEN"
    LATCH = "LATCH"
    RETIRE = "RETIRE"


class TokenError(Exception):
    """The token said no, or cannot. ``code`` is short and safe to show; nothing in it is secret."""

    def __init__(self, code: str, explanation: str, remedy: Remedy) -> None:
        super().__init__(explanation)
        self.code = code
        self.explanation = explanation
        self.remedy = remedy


_KEEP = frozenset(
    {
        "ArgumentsBad",
        "AttributeReadOnly",
        "AttributeSensitive",
        "AttributeTypeInvalid",
        "AttributeValueInvalid",
        "DataInvalid",
        "DataLenRange",
        "DomainParamsInvalid",
        "EncryptedDataInvalid",
        "EncryptedDataLenRange",
        "FunctionNotSupported",
        "KeyNotWrappable",
        "KeySizeRange",
        "KeyTypeInconsistent",
        "KeyUnextractable",
        "MechanismInvalid",
        "MechanismParamInvalid",
        "TemplateIncomplete",
        "TemplateInconsistent",
        "UnwrappingKeySizeRange",
        "UnwrappingKeyTypeInconsistent",
        "WrappedKeyInvalid",
        "WrappedKeyLenRange",
    }
)
_LATCH = frozenset(
    {"PinExpired", "PinIncorrect", "PinInvalid", "PinLenRange", "PinLocked", "PinTooWeak", "UserPinNotInitialized"}
)
_RETIRE = frozenset(
    {
        "DeviceError",
        "DeviceRemoved",
        "GeneralError",
        "SlotIDInvalid",
        "TokenNotPresent",
        "TokenNotRecognised",
        # The anchor's login is gone. The replacement logs in once, in the one place where that is done.
        "UserNotLoggedIn",
    }
)
_RETIRE_TEXTS = ("0x190", "0x191", "nitialized")
"""CKR_CRYPTOKI_NOT_INITIALIZED and its neighbour: python-pkcs11 has no classes for them, only texts."""
_KEY_FUNCTION_NOT_PERMITTED = "0x68"


def remedy_for(name: str, text: str) -> Remedy:
    """Return the remedy for a python-pkcs11 exception, by its class name and text."""
    if name in _LATCH:
        return Remedy.LATCH
    if name in _RETIRE or (name == "PKCS11Error" and any(part in text for part in _RETIRE_TEXTS)):
        return Remedy.RETIRE
    if name in _KEEP or (name == "PKCS11Error" and text.endswith(_KEY_FUNCTION_NOT_PERMITTED)):
        return Remedy.KEEP
    return Remedy.REOPEN


def code_of(name: str) -> str:
    """Return an exception's class name as a code: ``SessionHandleInvalid`` is ``SESSION_HANDLE_INVALID``."""
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in name.replace("PKCS11", "Pkcs11"))
    return words.strip("_").upper()
