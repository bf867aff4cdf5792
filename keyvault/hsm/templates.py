"""Every attribute of every object that keyvault makes in a token, as data.

Names are those of PKCS#11 without ``CKA_``. Nothing is left to the defaults of a library or a token: the defaults of
python-pkcs11 would let one AES key wrap and decrypt, and an EC key derive. This file knows no PKCS#11 library.

I6: private and secret objects are PRIVATE, SENSITIVE and do one thing only. They are not EXTRACTABLE, unless the firm
moves keys between tokens by AES-KWP (``WayOut``). Two objects of one session are readable on purpose: see
``readable_seed``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.anchor import APPLICATION
from keyvault.hsm.base import TRANSPORT_KEY_OBJECT_ID, WRAPPING_KEY_OBJECT_ID

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
RSA_KEY_BITS = 3072
IMPORT_AES_KEY_OBJECT_ID = b"keyvault-import-aes-key"
SEED_OBJECT_ID = b"keyvault-seed"
CHECK_OBJECT_ID = b"keyvault-check"


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """How a key may leave its token: not at all, or wrapped; ``with_trusted``: only under a key that is CKA_TRUSTED."""

    wrapped: bool = False
    with_trusted: bool = False


STAYS = WayOut()
"""It may not leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTemplates:
    """The two halves of a key pair."""

    public: Template
    private: Template


def signing_pair(object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool, way: WayOut = STAYS) -> PairTemplates:
    """Return the templates of a key pair that signs and verifies, nothing else. ``stored``: outlives the session."""
    return PairTemplates(
        public=public_half(object_id, algorithm, stored=stored),
        private=_private(object_id, stored=stored, sign=True, unwrap=False, way=way),
    )


def public_half(object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool) -> Template:
    """Return the template of the half that verifies, nothing else."""
    return {
        "ID": object_id,
        "LABEL": _label(object_id),
        "TOKEN": stored,
        "PRIVATE": False,
        "MODIFIABLE": False,
        "ENCRYPT": False,
        "VERIFY": True,
        "WRAP": False,
        "EC_PARAMS": EC_PARAMETERS[algorithm],
    }


def private_copy(object_id: bytes, *, way: WayOut) -> Template:
    """Return the template of a private key that comes from another token: as the original's, not stored yet.

    It stays MODIFIABLE, as ``hmac_secret`` and for the same reason.
    """
    original = _private(object_id, stored=False, sign=True, unwrap=False, way=way)
    return {name: value for name, value in original.items() if name != "MODIFIABLE"}


def private_of_seed(object_id: bytes, *, stored: bool) -> Template:
    """Return the template of an Ed25519 key made from its seed: signs, nothing else, and cannot leave the token.

    What can leave it, wrapped, is ``sealed_seed``.
    """
    return {
        **_private(object_id, stored=stored, sign=True, unwrap=False),
        "EC_PARAMS": EC_PARAMETERS[KeyAlgorithm.ED25519],
    }


def sealed_seed(object_id: bytes, *, way: WayOut) -> Template:
    """Return the template of the seed of an Ed25519 key that the token cannot wrap: it does nothing but be wrapped."""
    return {
        **_secret(object_id, stored=True, sign=False, unwrap=False, way=way),
        "LABEL": _label(object_id) + " (seed)",
    }


def readable_seed() -> Template:
    """Return the template of a seed that the worker reads: of this session only, and destroyed at once (I6).

    The one object that is not SENSITIVE, and only where ``plaintext_transport`` was asked for.
    """
    secret = _secret(SEED_OBJECT_ID, stored=False, sign=False, unwrap=False, way=WayOut(wrapped=True))
    return {**secret, "SENSITIVE": False}


def wrapping_key() -> Template:
    """Return the template of the AES key under which keys leave the token and come in: wraps and unwraps, nothing else.

    It is EXTRACTABLE, so that every token can give it to the next one: lose any, and the others go on.
    """
    secret = _secret(WRAPPING_KEY_OBJECT_ID, stored=False, sign=False, unwrap=True, way=WayOut(wrapped=True))
    return {**secret, "WRAP": True}


def check_secret() -> Template:
    """Return the template of a secret that everybody knows, which is wrapped to tell wrapping keys apart."""
    return _secret(CHECK_OBJECT_ID, stored=False, sign=False, unwrap=False, way=WayOut(wrapped=True))


def transport_public_half() -> Template:
    """Return the template of another token's transport key: wraps the wrapping key once, and is not stored."""
    return {
        "ID": TRANSPORT_KEY_OBJECT_ID,
        "LABEL": "another token's transport key",
        "TOKEN": False,
        "PRIVATE": False,
        "ENCRYPT": False,
        "VERIFY": False,
        "WRAP": True,
    }


def unwrapping_pair(object_id: bytes, *, way: WayOut = STAYS) -> PairTemplates:
    """Return the templates of an RSA pair for which others wrap: the private half unwraps, nothing else.

    The public half can do nothing in the token: others wrap outside it.
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
            "MODULUS_BITS": RSA_KEY_BITS,
            "PUBLIC_EXPONENT": b"\1\0\1",
        },
        private=_private(object_id, stored=True, sign=False, unwrap=True, way=way),
    )


def import_key_copy(object_id: bytes, *, way: WayOut) -> Template:
    """Return the template of an import key that comes from another token; MODIFIABLE as ``private_copy``."""
    original = _private(object_id, stored=False, sign=False, unwrap=True, way=way)
    return {name: value for name, value in original.items() if name != "MODIFIABLE"}


def hmac_secret(object_id: bytes, *, stored: bool, way: WayOut = STAYS) -> Template:
    """Return the template of an HMAC secret: signs and verifies, nothing else.

    It stays MODIFIABLE: SoftHSM 2.6.1 refuses C_UnwrapKey otherwise. SENSITIVE and EXTRACTABLE go one way all the same.
    """
    return _secret(object_id, stored=stored, sign=True, unwrap=False, way=way)


def import_aes_key() -> Template:
    """Return the template of the AES key that opens one imported secret: unwraps, nothing else, and is not stored."""
    return _secret(IMPORT_AES_KEY_OBJECT_ID, stored=False, sign=False, unwrap=True)


def anchor(label: str, *, stored: bool) -> Template:
    """Return the template of a data object: only who is logged in sees it, and nobody changes it."""
    return {
        "LABEL": label,
        "APPLICATION": APPLICATION,
        "TOKEN": stored,
        "PRIVATE": True,
        "MODIFIABLE": False,
    }


WRAPPING_SECRECY: Template = MappingProxyType(
    {
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
        "ENCRYPT": False,
        "DECRYPT": False,
        "SIGN": False,
        "VERIFY": False,
        "DERIVE": False,
        "WRAP": True,
        "UNWRAP": True,
    }
)
"""What the wrapping key must read back as (I6). One that could decrypt would open every blob into plain text."""


def generated_secrecy(way: WayOut = STAYS) -> Template:
    """Return what a generated private key must read back as (I6)."""
    never = {} if way.wrapped else {"NEVER_EXTRACTABLE": True}
    return {**copied_secrecy(way), "ALWAYS_SENSITIVE": True, **never}


def copied_secrecy(way: WayOut = STAYS) -> Template:
    """Return what a private key that was made from bytes must read back as (I6).

    ALWAYS_SENSITIVE is false by nature, as for all that lived outside once.
    """
    return {"PRIVATE": True, "SENSITIVE": True, **_exit(way), "DECRYPT": False, "DERIVE": False}


def imported_secrecy(way: WayOut = STAYS) -> Template:
    """Return what a secret that came in, and the AES key that it came under, must read back as (I6)."""
    return {"PRIVATE": True, "SENSITIVE": True, **_exit(way), "DECRYPT": False, "DERIVE": False, "WRAP": False}


def _exit(way: WayOut) -> dict[str, AttributeValue]:
    # A token that knows no trusted keys need not know the attribute, either.
    trusted: dict[str, AttributeValue] = {"WRAP_WITH_TRUSTED": True} if way.with_trusted else {}
    return {"EXTRACTABLE": way.wrapped, **trusted}


def _secret(object_id: bytes, *, stored: bool, sign: bool, unwrap: bool, way: WayOut = STAYS) -> Template:
    return {
        "ID": object_id,
        "LABEL": _label(object_id),
        "TOKEN": stored,
        "PRIVATE": True,
        "SENSITIVE": True,
        **_exit(way),
        "ENCRYPT": False,
        "DECRYPT": False,
        "SIGN": sign,
        "VERIFY": sign,
        "WRAP": False,
        "UNWRAP": unwrap,
        "DERIVE": False,
    }


def _private(object_id: bytes, *, stored: bool, sign: bool, unwrap: bool, way: WayOut = STAYS) -> Template:
    return {
        "ID": object_id,
        "LABEL": _label(object_id),
        "TOKEN": stored,
        "PRIVATE": True,
        "MODIFIABLE": False,
        "SENSITIVE": True,
        **_exit(way),
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
