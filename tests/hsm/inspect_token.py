"""What a PKCS#11 client with the PIN sees in a token: inspect_token.py MODULE LABEL PIN_FILE [leaky], JSON out.

``leaky``: try to generate a key whose template was changed to be extractable, and say what came of it.
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

from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm import templates
from keyvault.hsm.failures import TokenError
from keyvault.hsm.pin import read_pin
from keyvault.hsm.token import Session, Token

FLAGS = (
    *("PRIVATE", "SENSITIVE", "EXTRACTABLE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "TOKEN"),
    *("SIGN", "VERIFY", "ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "DERIVE"),
)


def main() -> None:
    """Print it."""
    module, label, pin_file = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    token = Token(module=module, label=label, lock_file=pin_file.with_name("token.lock"))
    token.log_in(read_pin(pin_file))
    found = leaky(token) if sys.argv[4:] == ["leaky"] else secrets(token)
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


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
            found[key[Attribute.ID].decode("ascii", "backslashreplace")] = about(key, wrapping)
    return found


def about(key: pkcs11.Key, wrapping: pkcs11.SecretKey) -> dict[str, str]:
    """Return what one key says of itself, and what reading, wrapping and revealing it gives."""
    said = {name: attempt(partial(key.__getitem__, Attribute[name])) for name in FLAGS}
    secret = Attribute.PRIVATE_EXPONENT if said["UNWRAP"] == "True" else Attribute.VALUE
    assert isinstance(wrapping, WrapMixin)
    return {
        **said,
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

    def dishonest(object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool) -> templates.PairTemplates:
        pair = honest(object_id, algorithm, stored=stored)
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


def attempt(action: Callable[[], object]) -> str:
    """Return the result as text, or the name of the error."""
    try:
        return str(action())
    except pkcs11.PKCS11Error as error:
        return type(error).__name__


if __name__ == "__main__":
    main()
