"""What a PKCS#11 client with the PIN sees in a token: inspect_token.py MODULE LABEL PIN_FILE [WORD ...], JSON out.

``leaky``: try to generate a key whose template was changed to be extractable, and say what came of it.
``import BLOB ...``: import each blob (hex), and say what came of it and which secret keys this process has then.
``leaky-import BLOB``: the same, when the AES key of an import can be got out of the token.
``anchors``: the anchor objects; ``forget-anchor``: destroy them.
``remove ID``: destroy what has this id, as somebody else's program would.
``plant-wrapping-key``: make a wrapping key that can decrypt, too.
``move ALGORITHM BLOB``: make a key and a copy of it, tell its blob and identity, and stay until stdin ends.
``plant ID SECRET``: store a secret (hex) that can be got out of the token, as a careless program would.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.types import WrapMixin

from keyvault.core.keys import KeyAlgorithm, KeyTransport
from keyvault.hsm import proofs, templates, worker
from keyvault.hsm.anchor import LABEL
from keyvault.hsm.base import IMPORT_KEY_OBJECT_ID
from keyvault.hsm.failures import TokenError
from keyvault.hsm.pin import read_pin
from keyvault.hsm.token import Session, Token, Transport, seeds
from keyvault.hsm.token.keys import attributes

FLAGS = (
    *("PRIVATE", "SENSITIVE", "EXTRACTABLE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "TOKEN"),
    *("SIGN", "VERIFY", "ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "DERIVE", "WRAP_WITH_TRUSTED"),
)


def main() -> None:
    """Print it."""
    module, label, pin_file = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    token = Token(module=module, label=label, lock_file=pin_file.with_name("token.lock"))
    token.log_in(read_pin(pin_file))
    match sys.argv[4:]:
        case ["leaky"]:
            found = leaky(token)
        case ["import", *blobs]:
            found = imported(token, [bytes.fromhex(blob) for blob in blobs])
        case ["leaky-import", blob]:
            careful = templates.import_aes_key()
            templates.import_aes_key = lambda: {**careful, "EXTRACTABLE": True}
            found = imported(token, [bytes.fromhex(blob)])
        case ["plant", object_id, secret]:
            found = planted(token, object_id.encode(), bytes.fromhex(secret))
        case ["anchors"]:
            found = {str(number): anchor for number, anchor in enumerate(anchors(token))}
        case ["forget-anchor"]:
            found = {str(number): anchor for number, anchor in enumerate(anchors(token, forget=True))}
        case ["move", algorithm, secret]:
            sys.stdout.write(json.dumps(moving(token, KeyAlgorithm(algorithm), bytes.fromhex(secret))) + "\n")
            sys.stdout.flush()
            sys.stdin.read()
            os._exit(0)
        case ["plant-wrapping-key"]:
            token.open_session().generate_key(
                KeyType.AES,
                256,
                store=True,
                mechanism=Mechanism.AES_KEY_GEN,
                template=attributes({**templates.wrapping_key(), "TOKEN": True, "DECRYPT": True}),
            )
            found = {}
        case ["remove", object_id]:
            found = removed(token, object_id.encode())
        case _:
            found = secrets(token)
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


def anchors(token: Token, *, forget: bool = False) -> list[dict[str, str]]:
    """Return the anchor objects; with ``forget``, destroy them, as somebody with the PIN can."""
    found = list(token.open_session().get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: LABEL}))
    told = [
        {
            "value": each[Attribute.VALUE].decode(),
            **{name: str(each[Attribute[name]]) for name in ("PRIVATE", "MODIFIABLE", "TOKEN")},
        }
        for each in found
    ]
    for each in found if forget else []:
        each.destroy()
    return told


def secrets(token: Token) -> dict[str, dict[str, str]]:
    """Return attributes of all private and secret keys, and what comes of trying to get at their values."""
    session = token.open_session()
    wrapping = session.generate_key(
        KeyType.AES,
        256,
        capabilities=MechanismFlag.WRAP,
        mechanism=Mechanism.AES_KEY_GEN,
    )
    found = {}
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY):
        for key in list(session.get_objects({Attribute.CLASS: kind, Attribute.TOKEN: True})):
            assert isinstance(key, pkcs11.Key)
            found[key[Attribute.LABEL]] = about(key, wrapping)
    return found


def about(key: pkcs11.Key, wrapping: pkcs11.SecretKey) -> dict[str, str]:
    """Return what one key says of itself, and what reading, wrapping and revealing it gives."""
    said = {name: attempt(partial(key.__getitem__, Attribute[name])) for name in FLAGS}
    secret = Attribute.PRIVATE_EXPONENT if said["UNWRAP"] == "True" else Attribute.VALUE
    assert isinstance(wrapping, WrapMixin)
    return {
        **said,
        "id": key[Attribute.ID].decode("ascii", "backslashreplace"),
        "read": attempt(partial(key.__getitem__, secret)),
        "wrap": attempt(partial(wrapping.wrap_key, key, mechanism=Mechanism.AES_KEY_WRAP_PAD)),
        "reveal": attempt(partial(reveal, key)),
    }


def reveal(key: pkcs11.Key) -> None:
    """Try to make a key extractable."""
    key[Attribute.EXTRACTABLE] = True


def leaky(token: Token) -> dict[str, dict[str, str]]:
    """Return the code of the refusal, and how many objects are left under the key's id."""
    honest = templates.signing_pair

    def dishonest(
        object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool, way: templates.WayOut = templates.STAYS
    ) -> templates.PairTemplates:
        pair = honest(object_id, algorithm, stored=stored, way=way)
        return templates.PairTemplates(public=pair.public, private={**pair.private, "EXTRACTABLE": True})

    templates.signing_pair = dishonest
    try:
        Session(token).generate(b"leaky", KeyAlgorithm.P256)
    except TokenError as error:
        code = error.code
    else:
        code = "generated"
    left = list(token.open_session().get_objects({Attribute.ID: b"leaky"}))
    return {"leaky": {"code": code, "left": str(len(left))}}


def imported(token: Token, blobs: list[bytes]) -> dict[str, dict[str, str]]:
    """Return the code of each import, and the ids of all secret keys that exist after it, those of sessions too."""
    session, other = Session(token), token.open_session()
    if not session.trial_import(b"trial", IMPORT_KEY_OBJECT_ID, KeyAlgorithm.HMAC_SHA256, bytes(32), b"message"):
        token.kwp_mechanism = Mechanism.AES_KEY_WRAP_PAD
    other.generate_key(KeyType.AES, 256, id=b"a-session-key", mechanism=Mechanism.AES_KEY_GEN)
    found = {}
    for number, blob in enumerate(blobs):
        try:
            session.unwrap(b"api", IMPORT_KEY_OBJECT_ID, KeyAlgorithm.HMAC_SHA256, blob)
        except TokenError as error:
            code = error.code
        else:
            code = "imported"
        keys = list(other.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))
        found[str(number)] = {"code": code, "keys": " ".join(sorted(key[Attribute.ID].decode() for key in keys))}
    return found


def moving(token: Token, algorithm: KeyAlgorithm, secret: bytes) -> dict[str, str]:
    """Make a key (HMAC: from a blob for the import key), wrap it, destroy it, and make it again by its blob."""
    token.key_transport = KeyTransport.KWP
    session, name = Session(token), b"moving"
    worker.self_test(token, session)
    if algorithm is KeyAlgorithm.ED25519:
        # SoftHSM itself leaves the seed in its freed memory when it signs with Ed25519.
        vars(seeds)["check_proven"] = lambda *_arguments: None
    if secret:
        session.unwrap(name, IMPORT_KEY_OBJECT_ID, algorithm, secret)
        identity = proofs.cut(session.sign(name, algorithm, proofs.key_check(name, algorithm).input))
    else:
        identity = session.generate(name, algorithm, plaintext_transport=True)
    blob = Transport(session).wrap(name, algorithm)
    session.destroy(name, algorithm)
    Transport(session).unwrap_copy(name, algorithm, blob, identity, plaintext_transport=True)
    return {"blob": blob.hex(), "identity": identity.hex()}


def planted(token: Token, object_id: bytes, secret: bytes) -> dict[str, dict[str, str]]:
    """Store the secret with every use of ours, but extractable."""
    template = {**templates.hmac_secret(object_id, stored=True), "EXTRACTABLE": True}
    identity = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET}
    token.open_session().create_object({**attributes(template), **identity, Attribute.VALUE: secret})
    return {}


def removed(token: Token, object_id: bytes) -> dict[str, dict[str, str]]:
    """Destroy the objects with this id, and return how many there were."""
    found = list(token.open_session().get_objects({Attribute.ID: object_id}))
    for one in found:
        one.destroy()
    return {object_id.decode(): {"removed": str(len(found))}}


def attempt(action: Callable[[], object]) -> str:
    """Return the result as text, or the name of the error."""
    try:
        return str(action())
    except pkcs11.PKCS11Error as error:
        return type(error).__name__


if __name__ == "__main__":
    main()
