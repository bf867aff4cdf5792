"""Logons of FIX sessions: whoever is logged on sends any orders without asking again.

BINANCE_FIX_LOGON  parts: SenderCompID, TargetCompID, MsgSeqNum, API key; Ed25519 only
    Ed25519(A | SenderCompID | TargetCompID | MsgSeqNum | SendingTime), Base64 in RawData (96)
KRAKEN_FIX_LOGON   parts: as before
    HMAC-SHA512(SHA-256(35=A|34=..|49=..|56=..|553=key| || nonce)), Base64 in Password (554); nonce in 5025

``|`` is SOH (0x01). SendingTime is the stamp's time, Kraken's nonce the stamp's nonce, in milliseconds. The parts have
no character that could end a field, so each signed text has one reading. The whole message is built here: fields in the
order of the venues' examples, BodyLength (9) and CheckSum (10) counted. Binance: heartbeat 30 s, sequential messages,
numbers reset, as in its example. How long after SendingTime the venue takes the logon is its RecvWindow (25000), 5 s if
it is left out, 60 s at most: a header outside the signed text, so whoever holds the signature can add it. The stated
end is the latest. Kraken: heartbeat 60 s, numbers not reset.

Sources: github.com/binance/binance-spot-api-docs fix-api.md, "How to sign Logon<A> request";
docs.kraken.com/api/docs/guides/fix-auth and /fix-api/logon-fix; FIX 4.4, volume 2.
"""

import hashlib
import re
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents.venue_request import (
    ED25519_BYTES,
    HMAC_SHA512_BYTES,
    account,
    base64_text,
    moment,
    parts,
    signed,
)

FIELD: Final = "exchange_request"

_RECV_WINDOW_MS_MAX = 60_000
_SOH = "\x01"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_BINANCE = (Effect(operation=Operation.SESSION, venue="binance"),)
_KRAKEN = (Effect(operation=Operation.SESSION, venue="kraken"),)

Logon = tuple[str, str, str, str]
"""SenderCompID, TargetCompID, MsgSeqNum, API key."""


def parse_binance(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a logon to Binance, or raise Malformed."""
    sender, target, number, _ = _logon(payload)
    return Intent(
        kind=payload.kind,
        algorithms=frozenset({KeyAlgorithm.ED25519}),
        signing_input=_SOH.join(("A", sender, target, number, _sending_time(signer))).encode("ascii"),
        effects=_BINANCE,
        completeness=Completeness.FULL,
        binds=frozenset({Bound.EXPIRY}),
        expires_at=UnixMillis(signer.stamp.at + _RECV_WINDOW_MS_MAX),
        stamped=True,
        decoder_version=2,
    )


def assemble_binance(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the whole Logon message."""
    sender, target, number, key = _logon(payload)
    raw = base64_text(signed(signature, ED25519_BYTES))
    return _message(
        ("34", number),
        ("49", sender),
        ("52", _sending_time(signer)),
        ("56", target),
        ("95", str(len(raw))),
        ("96", raw),
        ("98", "0"),
        ("108", "30"),
        ("141", "Y"),
        ("553", key),
        ("25035", "2"),
    )


def parse_kraken(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a logon to Kraken, or raise Malformed."""
    sender, target, number, key = _logon(payload)
    fields = (("35", "A"), ("34", number), ("49", sender), ("56", target), ("553", key))
    text = _text(fields) + str(signer.stamp.nonce)
    return Intent(
        kind=payload.kind,
        algorithms=frozenset({KeyAlgorithm.HMAC_SHA512}),
        signing_input=hashlib.sha256(text.encode("ascii")).digest(),
        effects=_KRAKEN,
        completeness=Completeness.FULL,
        binds=frozenset({Bound.ACCOUNT, Bound.EXPIRY, Bound.NONCE}),
        expires_at=UnixMillis(signer.stamp.nonce + limits.EXCHANGE_WINDOW_MS),
        stamped=True,
    )


def assemble_kraken(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the whole Logon message."""
    sender, target, number, key = _logon(payload)
    password = base64_text(signed(signature, HMAC_SHA512_BYTES))
    return _message(
        ("34", number),
        ("49", sender),
        ("52", _sending_time(signer)),
        ("56", target),
        ("98", "0"),
        ("108", "60"),
        ("553", key),
        ("554", password),
        ("5025", str(signer.stamp.nonce)),
    )


def _logon(payload: Payload) -> Logon:
    """Return the parts as texts, or raise Malformed."""
    sender, target, number, key = (part.decode("latin-1") for part in parts(payload, 4))
    for name, text in (("SenderCompID", sender), ("TargetCompID", target)):
        if not _NAME.fullmatch(text):
            raise Malformed(f"{FIELD}.{name}", "must be 1 to 64 characters of A-Z a-z 0-9 _ -")
    if not _NUMBER.fullmatch(number):
        raise Malformed(f"{FIELD}.MsgSeqNum", "must be a whole number from 1, at most nine digits")
    return sender, target, number, account(key.encode("latin-1"))


def _sending_time(signer: Signer) -> str:
    """Return UTCTimestamp with milliseconds: ``20240627-11:17:25.223``."""
    return moment(signer.stamp.at).strftime("%Y%m%d-%H:%M:%S.%f")[:-3]


def _text(fields: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"{tag}={value}{_SOH}" for tag, value in fields)


def _message(*fields: tuple[str, str]) -> Output:
    """Return a Logon with these fields: BodyLength counts from after itself, CheckSum all bytes before itself."""
    body = _text((("35", "A"), *fields))
    start = _text((("8", "FIX.4.4"), ("9", str(len(body))))) + body
    return Output(message=f"{start}10={sum(start.encode('ascii')) % 256:03d}{_SOH}")
