"""Whose keys this token can move: found out by moving some, for this session only."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.hsm import templates
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.handles import Handles, destroyed_after
from keyvault.hsm.token.importing import KWP_MECHANISMS
from keyvault.hsm.token.keys import attributes, check_secrecy
from keyvault.hsm.token.proving import check_proven
from keyvault.hsm.token.storing import KEY_TYPES, new_pair, new_wrapping_key
from keyvault.hsm.token.transport import Transport

_KWP_BYTES = 8
"""What AES-KWP adds to a multiple of 8 bytes (RFC 5649, section 4.1); a padding of another kind adds more."""


class Trials:
    """Moves keys that live for one trial, in one lane's session."""

    def __init__(
        self, handles: Handles, object_id: bytes, secret: bytes, check: Callable[[KeyAlgorithm], bytes]
    ) -> None:
        """``secret`` is that of an HMAC, a multiple of 8 bytes; ``check`` gives its key check under ``object_id``."""
        self._handles = handles
        self._object_id = object_id
        self._secret = secret
        self._check = check

    def movable(self, able: Iterable[KeyAlgorithm]) -> frozenset[KeyAlgorithm]:
        """Return whose keys were wrapped, unwrapped, copied, and proved to be the same.

        By the mechanism that a trial import found; in a token without an import key by the first that moves any, which
        is kept for all sessions of this process. Raises TokenError when the token itself is in doubt.
        """
        token = self._handles.token
        known, able = token.kwp_mechanism, tuple(able)
        for mechanism in KWP_MECHANISMS if known is None else (known,):
            token.kwp_mechanism = mechanism
            found = frozenset(algorithm for algorithm in able if self._moves(algorithm))
            if found:
                return found
        token.kwp_mechanism = known
        return frozenset()

    def _moves(self, algorithm: KeyAlgorithm) -> bool:
        try:
            return self._handles.once(lambda: self._trial(algorithm))
        except TokenError as error:
            if error.remedy in {Remedy.LATCH, Remedy.RETIRE}:
                raise
            return False

    def _trial(self, algorithm: KeyAlgorithm) -> bool:
        transport, session, way = Transport(self._handles), self._handles.session, templates.WayOut(wrapped=True)
        with ExitStack() as made:
            wrapping_key = new_wrapping_key(session)
            made.enter_context(destroyed_after(wrapping_key))
            check_secrecy(wrapping_key, templates.WRAPPING_SECRECY)
            if algorithm in HMAC_ALGORITHMS:
                template, identity = (
                    templates.hmac_secret(self._object_id, stored=False, way=way),
                    self._check(algorithm),
                )
                key = self._known_secret(template)
            else:
                template = templates.private_copy(self._object_id, way=way)
                identity, key, public = new_pair(session, self._object_id, algorithm, stored=False, way=way)
                made.enter_context(destroyed_after(public))
            made.enter_context(destroyed_after(key))
            blob = transport.wrapped(wrapping_key, key)
            if algorithm in HMAC_ALGORITHMS and len(blob) != len(self._secret) + _KWP_BYTES:
                return False  # padded in another way than other tokens do
            opened = transport.opened_key(wrapping_key, KEY_TYPES[algorithm], template, blob)
            made.enter_context(destroyed_after(opened))
            copied = opened.copy({Attribute.TOKEN: False})
            made.enter_context(destroyed_after(copied))
            check_proven(copied, self._object_id, algorithm, identity)
        return True

    def _known_secret(self, template: templates.Template) -> pkcs11.Object:
        identification = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET}
        return self._handles.session.create_object(
            {**attributes(template), **identification, Attribute.VALUE: self._secret}
        )
