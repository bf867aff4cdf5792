"""Every attribute of every object that keyvault makes in a token, as data.

Names are those of PKCS#11 without ``CKA_``. Nothing is left to the defaults of a library or a token: the defaults of
python-pkcs11 would let one AES key wrap and decrypt, and an EC key derive. This file knows no PKCS#11 library.

I6: private and secret objects are PRIVATE, SENSITIVE and not EXTRACTABLE, and do one thing only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.anchor import APPLICATION

AttributeValue = bool | int | bytes | str
Template = Mapping[str, AttributeValue]
"""Attribute name to value."""

EC_PARAMETERS: Mapping[KeyAlgorithm, bytes] = MappingProxyType(
    {
        # ECParameters as DER object identifiers (RFC 5480, section 2.1.1.1; RFC 8410, section 3).
        KeyAlgorithm.SECP256K1: bytes.fromhex("06052b8104000a"),
        KeyAlgorithm.P256: bytes.fromhex("06082a8648ce3d030107"),
        KeyAlgorithm.ED25519: bytes.fromhex("06032b6570"),
    }
)
EDWARDS25519_BY_NAME = b"\x13\x0cedwards25519"
"""The same curve as a PrintableString (PKCS#11 3.0, section 2.3.5): SoftHSM reads private halves back like this."""
RSA_IMPORT_KEY_BITS = 3072
TRANSPORT_KEY_OBJECT_ID = b"keyvault-transport-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTemplates:
    """The two halves of a key pair."""

    public: Template
    private: Template


def signing_pair(object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool) -> PairTemplates:
    """Return the templates of a key pair that signs and verifies, nothing else. ``stored``: outlives the session."""
    return PairTemplates(
        public={
            "ID": object_id,
            "LABEL": _label(object_id),
            "TOKEN": stored,
            "PRIVATE": False,
            "MODIFIABLE": False,
            "ENCRYPT": False,
            "VERIFY": True,
            "WRAP": False,
            "EC_PARAMS": EC_PARAMETERS[algorithm],
        },
        private=_private(object_id, stored=stored, sign=True, unwrap=False),
    )


def import_pair(object_id: bytes) -> PairTemplates:
    """Return the templates of the RSA pair for which clients wrap secrets: the private half unwraps, nothing else.

    The public half can do nothing in the token: clients wrap outside it.
    """
    return PairTemplates(
        public={
            "ID": object_id,
            "LABEL": _label(object_id),
            "TOKEN": True,
            "PRIVATE": False,
            "MODIFIABLE": False,
            "ENCRYPT": False,
            "VERIFY": False,
            "WRAP": False,
            "MODULUS_BITS": RSA_IMPORT_KEY_BITS,
            "PUBLIC_EXPONENT": b"\1\0\1",
        },
        private=_private(object_id, stored=True, sign=False, unwrap=True),
    )


def hmac_secret(object_id: bytes, *, stored: bool) -> Template:
    """Return the template of an HMAC secret: signs and verifies, nothing else.

    It stays MODIFIABLE: SoftHSM 2.6.1 refuses C_UnwrapKey otherwise. SENSITIVE and EXTRACTABLE go one way all the same.
    """
    return _secret(object_id, stored=stored, sign=True, unwrap=False)


def transport_key() -> Template:
    """Return the template of the AES key that opens one imported secret: unwraps, nothing else, and is not stored."""
    return _secret(TRANSPORT_KEY_OBJECT_ID, stored=False, sign=False, unwrap=True)


def anchor(label: str, *, stored: bool) -> Template:
    """Return the template of a data object: only who is logged in sees it, and nobody changes it."""
    return {
        "LABEL": label,
        "APPLICATION": APPLICATION,
        "TOKEN": stored,
        "PRIVATE": True,
        "MODIFIABLE": False,
    }


GENERATED_SECRECY: Template = MappingProxyType(
    {
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "ALWAYS_SENSITIVE": True,
        "NEVER_EXTRACTABLE": True,
        "DECRYPT": False,
        "DERIVE": False,
    }
)
"""What a generated private key must read back as (I6)."""

IMPORTED_SECRECY: Template = MappingProxyType(
    {
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "DECRYPT": False,
        "DERIVE": False,
        "WRAP": False,
    }
)
"""What an imported secret, and the AES key that it comes under, must read back as (I6).

ALWAYS_SENSITIVE is false by nature: both lived outside once.
"""


def _secret(object_id: bytes, *, stored: bool, sign: bool, unwrap: bool) -> Template:
    return {
        "ID": object_id,
        "LABEL": _label(object_id),
        "TOKEN": stored,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "ENCRYPT": False,
        "DECRYPT": False,
        "SIGN": sign,
        "VERIFY": sign,
        "WRAP": False,
        "UNWRAP": unwrap,
        "DERIVE": False,
    }


def _private(object_id: bytes, *, stored: bool, sign: bool, unwrap: bool) -> Template:
    return {
        "ID": object_id,
        "LABEL": _label(object_id),
        "TOKEN": stored,
        "PRIVATE": True,
        "MODIFIABLE": False,
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "DECRYPT": False,
        "SIGN": sign,
        "UNWRAP": unwrap,
        "DERIVE": False,
    }


def _label(object_id: bytes) -> str:
    return object_id.decode("ascii", "backslashreplace")


def is_on_curve(algorithm: KeyAlgorithm, ec_params: bytes) -> bool:
    """Return whether a CKA_EC_PARAMS names the algorithm's curve, by object identifier or by name."""
    if algorithm is KeyAlgorithm.ED25519 and ec_params == EDWARDS25519_BY_NAME:
        return True
    return ec_params == EC_PARAMETERS[algorithm]


def parse_ec_point(algorithm: KeyAlgorithm, value: bytes) -> bytes:
    """Return the public key in a CKA_EC_POINT: 65 bytes (SEC 1, uncompressed) or 32 bytes (Ed25519).

    Tokens disagree on the form: raw, a DER OCTET STRING, or a BIT STRING; told apart by their length, exactly.
    Raises Malformed for every other value.
    """
    size, first = (32, b"") if algorithm is KeyAlgorithm.ED25519 else (65, b"\x04")
    forms = (b"", bytes((0x04, size)), bytes((0x03, size + 1, 0x00)))
    for prefix in forms:
        if len(value) == len(prefix) + size and value.startswith(prefix + first):
            return value[len(prefix) :]
    raise Malformed("EC_POINT", f"{len(value)} bytes, {value[:4].hex()}..., are no {algorithm} key in a known form")
