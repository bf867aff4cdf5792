"""What every ``keyvault sign`` command does with its payload: shows it, asks for the signature, prints the result."""

import base64
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from keyvault import intents
from keyvault.cli.exits import REQUEST_ID, UsageProblem
from keyvault.cli.output import JsonValue, emit, fields, hexed, json_option, say
from keyvault.cli.params import parse_hex
from keyvault.cli.session import call
from keyvault.cli.target import Command, Target, target_options, with_options
from keyvault.client import (
    AsyncClient,
    Signed,
    SignedBytes,
    SignedExchangeRequest,
    SignedTransaction,
    SignedTypedData,
    uuid7,
)
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import parse_request_id
from keyvault.core.intent import Payload, Signer

INPUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
"""A file, or - for stdin."""
_SOH = "\x01"
"""Ends a field of FIX; people read and write | for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """With which key, under which request id (None: a new one), and how many seconds to wait for members."""

    key: str
    request_id: str | None
    wait_s: float


def sign_options(function: Command) -> Command:
    """Give a command ``wish``, ``target`` and --json."""

    @functools.wraps(function)
    def with_wish(*, key: str, request_id: str | None, wait: float, **others: object) -> None:
        function(wish=Wish(key=key, request_id=request_id, wait_s=wait), **others)

    options: tuple[Callable[[Command], Command], ...] = (
        click.option("--key", required=True, help="The key: KEY or KEY/versions/N."),
        click.option(
            "--request-id", help="Same id and same bytes: same answer, for ever. [a new one, printed with the answer]"
        ),
        click.option(
            "--wait",
            type=click.FloatRange(min=0, max=limits.PROPOSAL_LIFE_MS_MAX // 1000),
            default=0,
            metavar="SECONDS",
            help="Where policy asks members first: wait for them so long. [not at all]",
        ),
        target_options("bot", pins=False),
        json_option,
    )
    return with_options(with_wish, options)


def encoding_option(function: Command) -> Command:
    """Give a command ``encoding``: how the bytes in its file are written."""
    return click.option(
        "--encoding",
        type=click.Choice(["base64", "hex", "binary"]),
        default="base64",
        show_default=True,
        help="How the bytes in FILE are written.",
    )(function)


INSTEAD = "keyvault.instead_of_signing"
"""Set in ``Context.meta`` by a command that takes payloads as `keyvault sign` does: what is done with them instead."""


def sign(target: Target, wish: Wish, payload: Payload) -> None:
    """Show what the payload means, have it signed, print the result; or do what the command wants instead."""
    intents.checked(payload)
    instead = click.get_current_context().meta.get(INSTEAD)
    if instead is not None:
        instead(target, wish, payload)
        return
    chosen = chosen_id(wish)

    async def told_and_signed(client: AsyncClient) -> Signed:
        tell([payload], await signer_of(client, wish))
        return await client.sign(wish.key, payload, request_id=chosen, wait_for_approval_s=wish.wait_s)

    show(document_of(call(target, told_and_signed)))


def chosen_id(wish: Wish) -> str:
    """Return the request id, and let whoever interrupts us be told; raise UsageProblem where nothing may be signed."""
    if INSTEAD in click.get_current_context().meta:
        raise UsageProblem("this signs several payloads at once: name one of them, as `keyvault sign` takes it")
    chosen = str(uuid7()) if wish.request_id is None else parse_request_id(wish.request_id)
    click.get_current_context().meta[REQUEST_ID] = chosen
    return chosen


async def signer_of(client: AsyncClient, wish: Wish) -> Signer:
    """Return whose signature is wished for: that decides what a payload means."""
    key = await client.public_key(wish.key)
    return Signer(algorithm=key.algorithm, public_key=key.public_key)


def tell(asked: Iterable[Payload], signer: Signer) -> None:
    """Say what payloads mean, equal meanings once."""
    for words in dict.fromkeys(intents.describe(intents.parse(payload, signer)) for payload in asked):
        say(words)


def show(document: Mapping[str, JsonValue]) -> None:
    """Print the result."""
    emit(document, lambda: fields(list(_lines(document))))


def _lines(document: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from ((each, str(text)) for each, text in value.items())
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, str(value).replace(_SOH, "|")


def document_of(signed: Signed) -> dict[str, JsonValue]:
    """Return the result as it is printed."""
    document: dict[str, JsonValue] = {
        "request_id": signed.request_id,
        "key_version": signed.key_version,
        "ledger_index": signed.ledger_index,
        "signing_input": hexed(signed.signing_input),
        "signature": hexed(signed.signature),
        "recovery_id": signed.recovery_id,
    }
    match signed:
        case SignedTransaction():
            document |= {
                "transaction_hash": hexed(signed.transaction_hash),
                "raw_transaction": hexed(signed.raw_transaction),
            }
        case SignedTypedData():
            document |= {"r": hexed(signed.r), "s": hexed(signed.s), "v": signed.v, "rsv": hexed(signed.rsv)}
        case SignedExchangeRequest():
            document |= {"query": signed.query, "body": signed.body}
            document |= {name: text for name, text in (("path", signed.path), ("message", signed.message)) if text}
            if signed.headers:
                document["headers"] = dict(signed.headers)
        case SignedBytes():
            document |= {"raw": hexed(signed.raw), "raw_base64": base64.b64encode(signed.raw).decode("ascii")}
            if signed.transaction_hash:
                document["transaction_hash"] = hexed(signed.transaction_hash)
        case _:
            pass  # a digest: the signature is all there is
    return document


def read(path: Path) -> bytes:
    """Return what the file, or stdin, holds; never more than a payload as hex can have."""
    most = 2 * limits.PAYLOAD_BYTES_MAX + 16
    if str(path) == "-":
        data = sys.stdin.buffer.read(most + 1)
    else:
        with path.open("rb") as file:
            data = file.read(most + 1)
    if len(data) > most:
        raise Malformed(str(path), f"is longer than {most} bytes")
    return data


def read_bytes(path: Path, encoding: str) -> bytes:
    """Return the bytes that the file, or stdin, holds as base64, as hex or as they are; raise Malformed."""
    data = read(path)
    if encoding == "binary":
        return data
    text = data.decode("ascii", "replace").strip()
    if encoding == "hex":
        return parse_hex(text)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise Malformed(str(path), "is not base64: --encoding says how its bytes are written") from None
