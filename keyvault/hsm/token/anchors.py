"""The anchor object in the token: found, and replaced by one that saw more; see ``keyvault.hsm.anchor``."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pkcs11
from pkcs11 import Attribute, ObjectClass

from keyvault.core.errors import Malformed
from keyvault.core.marks import Mark
from keyvault.hsm import templates
from keyvault.hsm.anchor import LABEL, TRIAL_LABEL, decode_anchor, encode_anchor
from keyvault.hsm.base import ANCHOR_BEHIND
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.keys import attributes


def find_anchor(session: pkcs11.Session) -> Mark | None:
    """Return what the newest anchor says, None if there is none. Raises TokenError, PKCS11Error."""
    found = [_said(each) for each in _objects(session)]
    return max(found, key=lambda mark: (mark.incarnation, mark.epoch, mark.size), default=None)


def replace_anchor(session: pkcs11.Session, mark: Mark, destroying: Callable[[], AbstractContextManager[None]]) -> None:
    """Let the anchor say this from now on; raise TokenError if it says something that this cannot come after."""
    before = _objects(session)
    for each in before:
        said = _said(each)
        if not said.grows_to(mark):
            raise TokenError(ANCHOR_BEHIND, f"the token's anchor saw {said}, which {mark} does not follow", Remedy.KEEP)
    _create(session, LABEL, encode_anchor(mark), stored=True)
    for each in before:
        with destroying():
            each.destroy()


def try_anchor(session: pkcs11.Session) -> bool:
    """Return whether the token keeps data objects: one was made for this session, read back, and destroyed."""
    made = _create(session, TRIAL_LABEL, b"trial", stored=False)
    try:
        return bool(made[Attribute.VALUE] == b"trial")
    finally:
        made.destroy()


def _objects(session: pkcs11.Session) -> list[pkcs11.Object]:
    # A list at once: an open search would make the next operation fail (OPERATION_ACTIVE).
    return list(session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: LABEL}))


def _said(anchor: pkcs11.Object) -> Mark:
    try:
        return decode_anchor(anchor[Attribute.VALUE])
    except Malformed as error:
        raise TokenError("ANCHOR_UNREADABLE", error.problem, Remedy.KEEP) from error


def _create(session: pkcs11.Session, label: str, value: bytes, *, stored: bool) -> pkcs11.Object:
    template = attributes(templates.anchor(label, stored=stored))
    return session.create_object({**template, Attribute.CLASS: ObjectClass.DATA, Attribute.VALUE: value})
