"""The anchor object: what a token remembers of the ledger, as bytes.

Text, so that an operator can read it with any PKCS#11 tool. It stands in a CKO_DATA object that only who is logged in
sees. SoftHSM 2.6.1 does not change the value of one (CKR_ATTRIBUTE_READ_ONLY), so a new object takes the place of the
old one: first it is made, then the others are destroyed. A crash between leaves both, and the newest counts.
"""

import re

from keyvault.core.errors import Malformed
from keyvault.core.ids import Epoch
from keyvault.core.marks import Mark

LABEL = "keyvault-anchor"
TRIAL_LABEL = "keyvault-anchor-trial"
APPLICATION = "keyvault"
_NUMBER = rb"(0|[1-9][0-9]{0,17})\n"
_FORM = re.compile(rb"keyvault/anchor/v1\n([1-9][0-9]{0,8})\n" + _NUMBER + _NUMBER + rb"([0-9a-f]{64})\n")


def encode_anchor(mark: Mark) -> bytes:
    """Return the value of the object: incarnation, epoch, size and root, a line each. Raises Malformed."""
    value = f"keyvault/anchor/v1\n{mark.incarnation}\n{mark.epoch}\n{mark.size}\n{mark.root.hex()}\n".encode()
    decode_anchor(value)
    return value


def decode_anchor(value: bytes) -> Mark:
    """Return what the value says, or raise Malformed."""
    match = _FORM.fullmatch(value)
    if match is None:
        raise Malformed("anchor", f"the token's object {LABEL} is not one that keyvault wrote")
    incarnation, epoch, size = (int(number) for number in match.groups()[:3])
    return Mark(incarnation=incarnation, epoch=Epoch(epoch), size=size, root=bytes.fromhex(match[4].decode()))
