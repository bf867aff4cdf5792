"""An approver's process with a token: JSON in as the one argument, JSON out.

``fill``: make these keys in the token, as ``[label, id, algorithm, pin_each_time, with_public_half]``.
Otherwise ``asks``: for each ``[label, id, pins]`` open that key with these PINs, in this order, and sign ``message``
``times`` times; the answer has what came of it and how many PINs were asked for. ``blind``: without a look at the
public half first. ``lying``: the module signs something else.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag
from pkcs11.types import SignMixin

from keyvault.core.ids import MemberName
from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.templates import EC_PARAMETERS
from keyvault.hsm.token import load_library
from keyvault.hsm.token.approver import ApproverKey, TokenKey, TokenKeyProblem, read_token_public_key

ALICE = MemberName("alice")


def main() -> None:
    """Do it."""
    said = json.loads(sys.argv[1])
    module, token = Path(said["module"]), said["token"]
    if "fill" in said:
        fill(module, token, said["pin"], said["fill"])
        return
    sys.stdout.write(json.dumps([asked(module, token, said, ask) for ask in said["asks"]]))


def fill(module: Path, token: str, pin: str, keys: list[list[Any]]) -> None:
    """Make the keys."""
    library = load_library(module)
    with next(each for each in library.get_tokens() if each.label == token).open(rw=True, user_pin=pin) as session:
        for label, object_id, algorithm, pin_each_time, with_public in keys:
            edwards = algorithm == KeyAlgorithm.ED25519
            parameters = session.create_domain_parameters(
                KeyType.EC_EDWARDS if edwards else KeyType.EC,
                {Attribute.EC_PARAMS: EC_PARAMETERS[KeyAlgorithm(algorithm)]},
                local=True,
            )
            public, _ = parameters.generate_keypair(
                id=bytes.fromhex(object_id),
                label=label,
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN,
                private_template={Attribute.ALWAYS_AUTHENTICATE: pin_each_time},
            )
            if not with_public:
                public.destroy()
    library.cryptoki.finalize()


class Liar:
    """A key that signs another message than it is given."""

    def __init__(self, honest: SignMixin) -> None:
        self._honest = honest

    def sign(self, message: bytes, **how: object) -> bytes:
        return self._honest.sign(bytes(len(message)), **how)


def asked(module: Path, token: str, said: dict[str, Any], ask: list[Any]) -> dict[str, Any]:
    """Return what came of opening one key and signing."""
    label, object_id, pins = ask
    left = list(pins)
    name = TokenKey(
        module=module, token=token, label=label, object_id=None if object_id is None else bytes.fromhex(object_id)
    )
    answer: dict[str, Any] = {}
    try:
        if not said.get("blind"):
            answer["shown"] = read_token_public_key(name).hex()
        key = ApproverKey(ALICE, name, pin=lambda: str(left.pop(0)))
        if said.get("lying"):
            key._key = Liar(key._key)  # type: ignore[assignment]  # as much of a key as is used
        answer |= {"member": key.member, "public_key": key.public_key.hex()}
        answer["signatures"] = [key.sign(said["message"].encode()).hex() for _ in range(said["times"])]
    except TokenKeyProblem as error:
        answer["error"] = str(error)
    return answer | {"asked": len(pins) - len(left)}


if __name__ == "__main__":
    main()
