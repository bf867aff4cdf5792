r"""Personal messages: EIP-191, version 0x45, as ``personal_sign`` and ``eth_sign`` make them.

digest    keccak256("\x19Ethereum Signed Message:\n" || length in decimal || message)

The message is text for people or a hash for a contract, and the bytes do not say which:

- 32 bytes, also as hex text, are OPAQUE: a Safe takes the signature as its owner's approval of the transaction with
  that hash (``v`` above 30), other contracts likewise.
- What is not UTF-8 or has characters that cannot be printed is OPAQUE: also what begins with 0x19, EIP-191 in itself.
- A sign-in (EIP-4361) is SESSION: whoever has the signature is the account at ``destination``, the domain. What only
  resembles one is OPAQUE. The time in it is not ``issued_at``: sites do not ask that it be recent.
- All other text is MESSAGE. What its readers make of it is unknown: completeness is PARTIAL.

Nothing binds a chain, a site or a time unless the text says so.
"""

import re
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import Signature
from keyvault.intents import sign_in
from keyvault.intents.account import EVM_ALGORITHMS, account_of
from keyvault.intents.keccak import keccak256
from keyvault.intents.sign_in import SignIn
from keyvault.intents.signature import r_s_parity

FIELD: Final = "evm_message"

_PREFIX: Final = b"\x19Ethereum Signed Message:\n"
_HASH_BYTES: Final = 32
_HASH_TEXT: Final = re.compile(r"\s*(?:0[xX])?[0-9A-Fa-f]{64}\s*")
_V: Final = 27
_WHITE: Final = str.maketrans("", "", "\n\t")
_SIGN_IN_BINDS: Final = frozenset({Bound.HOST, Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE})


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a message, or raise Malformed if it is empty."""
    message = payload.parts[0]
    if not message:
        raise Malformed(FIELD, "is empty")
    account = account_of(signer)
    text = _text(message)
    digest = keccak256(_PREFIX + str(len(message)).encode("ascii") + message)
    session = None if text is None else sign_in.read(text)
    if session is not None:
        return _session(payload, digest, session)
    opaque = text is None or sign_in.resembles(text)
    return Intent(
        kind=payload.kind,
        algorithms=EVM_ALGORITHMS,
        signing_input=digest,
        effects=(Effect(operation=Operation.OPAQUE if opaque else Operation.MESSAGE, source=account),),
        completeness=Completeness.OPAQUE if opaque else Completeness.PARTIAL,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 - as all formats
    """Return r || s || v, 65 bytes, v being 27 or 28."""
    _, _, parity = r_s_parity(signature)
    return Output(raw=signature.value + bytes((_V + parity,)))


def _text(message: bytes) -> str | None:
    """Return the message as text for people; None if it may be anything else."""
    if len(message) == _HASH_BYTES:
        return None
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.translate(_WHITE).isprintable() or _HASH_TEXT.fullmatch(text):
        return None
    return text


def _session(payload: Payload, digest: bytes, session: SignIn) -> Intent:
    effect = Effect(
        operation=Operation.SESSION,
        chain_id=session.chain_id,
        destination=session.domain,
        source=session.address,
        expires_at=session.expires_at,
    )
    return Intent(
        kind=payload.kind,
        algorithms=EVM_ALGORITHMS,
        signing_input=digest,
        effects=(effect,),
        completeness=Completeness.PARTIAL,
        binds=_SIGN_IN_BINDS if session.expires_at is None else _SIGN_IN_BINDS | {Bound.EXPIRY},
        not_before=session.not_before,
        expires_at=session.expires_at,
    )
