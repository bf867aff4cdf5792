"""``keyvault sign``: what a bot does, by hand. Shows what the payload means before it is sent."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from keyvault import intents
from keyvault.cli.evm_fields import FIELD_NAMES, Fields, fields_of, unsigned_transaction
from keyvault.cli.exits import REQUEST_ID, UsageProblem
from keyvault.cli.output import JsonValue, emit, fields, hexed, json_option, say
from keyvault.cli.params import Hex, Wei, parse_hex
from keyvault.cli.session import call
from keyvault.cli.target import Command, Target, target_options, with_options
from keyvault.client import (
    AsyncClient,
    Signed,
    SignedBytes,
    SignedExchangeRequest,
    SignedTransaction,
    SignedTypedData,
    payloads,
    uuid7,
)
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import parse_request_id
from keyvault.core.intent import Payload, Signer

_INPUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.group()
def command() -> None:
    """Have a payload signed, or learn why not.

    \b
    Example:
      keyvault sign evm-tx --key eth-mm-1 --tx-hex 0x02ef01... --deployment ./desk
      keyvault sign exchange --key binance-1 --query 'symbol=ETHUSDT&side=BUY&...&timestamp=1790000000000'
    """  # noqa: D301  \b tells click to keep the lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """With which key, under which request id (None: a new one), and how many seconds to wait for members."""

    key: str
    request_id: str | None
    wait_s: float


def _sign_options(function: Command) -> Command:
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


def _field_options(function: Command) -> Command:
    """Give a command ``fields_given``: an EIP-1559 transaction as Fields, or None if no field is given."""

    @functools.wraps(function)
    def with_fields(**given: object) -> None:
        values = {name: given.pop(name) for name in FIELD_NAMES}
        function(fields_given=fields_of(values), **given)

    options: tuple[Callable[[Command], Command], ...] = (
        click.option("--chain-id", type=click.IntRange(min=1), help="EIP-155 chain id, for an EIP-1559 transaction."),
        click.option(
            "--nonce", type=click.IntRange(min=0), help="Number of transactions that the account sent before."
        ),
        click.option("--to", help="Address of the receiver or contract."),
        click.option("--value", type=Wei(), help="Native coin to send, as in '1.5 ether'. [0]"),
        click.option("--gas", type=click.IntRange(min=21_000), help="Gas limit."),
        click.option("--max-fee", type=Wei(), help="Highest price of one unit of gas, as in '30 gwei'."),
        click.option("--max-priority-fee", type=Wei(), help="Highest tip for one unit of gas, as in '1 gwei'."),
        click.option("--data", type=Hex(), help="Calldata, 0x and hex. [none]"),
    )
    return with_options(with_fields, options)


@command.command("evm-tx")
@click.option("--tx-hex", type=Hex(), help="The unsigned transaction, 0x and hex: EIP-155 legacy or EIP-1559.")
@click.option("--tx", "tx_file", type=_INPUT, help="File with those hex digits, or - for stdin.")
@_field_options
@_sign_options
def evm_tx(
    wish: Wish,
    target: Target,
    tx_hex: bytes | None,
    tx_file: Path | None,
    fields_given: Fields | None,
) -> None:
    """Sign an EVM transaction, given whole or by its fields; prints what eth_sendRawTransaction takes.

    \b
    Example:
      keyvault sign evm-tx --key eth-mm-1 --chain-id 1 --nonce 7 --gas 21000 --value '1.5 ether' \\
        --to 0x52908400098527886E0F7030069857D2E4169EE7 --max-fee '30 gwei' --max-priority-fee '1 gwei'
    """  # noqa: D301  as above
    if sum(each is not None for each in (tx_hex, tx_file, fields_given)) != 1:
        raise UsageProblem("give the transaction in exactly one way: --tx-hex, --tx FILE, or its fields")
    if fields_given is not None:
        tx_hex = unsigned_transaction(fields_given)
    elif tx_file is not None:
        tx_hex = parse_hex(_read(tx_file).decode("ascii", "replace"))
    _sign(target, wish, payloads.evm_transaction(tx_hex or b""))


@command.command("typed-data")
@click.argument("file", type=_INPUT)
@_sign_options
def typed_data(wish: Wish, target: Target, file: Path) -> None:
    """Sign EIP-712 typed data: a JSON FILE (or - for stdin) with types, primaryType, domain and message.

    \b
    Example:
      keyvault sign typed-data --key eth-mm-1 order.json --deployment ./desk
    """  # noqa: D301  as above
    _sign(target, wish, payloads.typed_data(_read(file)))


@command.command()
@click.option("--venue", type=click.Choice(["binance"]), default="binance", show_default=True, help="The exchange.")
@click.option("--query", default="", help="Query string as it will be sent, without '?' and signature.")
@click.option("--body", default="", help="Body as it will be sent, without signature.")
@_sign_options
def exchange(wish: Wish, target: Target, venue: str, query: str, body: str) -> None:  # noqa: ARG001  one venue so far
    """Sign a REST request for an exchange; prints the query and body to send.

    \b
    Example:
      keyvault sign exchange --key binance-1 --venue binance \\
        --query "symbol=ETHUSDT&side=BUY&type=MARKET&quantity=1&timestamp=$(date +%s%3N)"
    """  # noqa: D301  as above
    _sign(target, wish, payloads.binance(query=query, body=body))


@command.command()
@click.argument("digest", type=Hex())
@_sign_options
def digest(wish: Wish, target: Target, digest: bytes) -> None:
    """Sign 32 bytes that nobody can look into; refused unless the policy names this key and says so.

    \b
    Example:
      keyvault sign digest --key eth-mm-1 0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """  # noqa: D301  as above
    _sign(target, wish, payloads.raw_digest(digest))


def _sign(target: Target, wish: Wish, payload: Payload) -> None:
    """Show what the payload means, have it signed, print the result."""
    intents.checked(payload)
    chosen = str(uuid7()) if wish.request_id is None else parse_request_id(wish.request_id)
    click.get_current_context().meta[REQUEST_ID] = chosen

    async def told_and_signed(client: AsyncClient) -> Signed:
        key = await client.public_key(wish.key)
        signer = Signer(algorithm=key.algorithm, public_key=key.public_key)
        say(intents.describe(intents.parse(payload, signer)))
        return await client.sign(wish.key, payload, request_id=chosen, wait_for_approval_s=wish.wait_s)

    signed = call(target, told_and_signed)
    document = _document(signed)
    emit(document, lambda: fields([(name, str(value)) for name, value in document.items() if value is not None]))


def _document(signed: Signed) -> dict[str, JsonValue]:
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
            document |= {"raw": hexed(signed.raw)}
            if signed.transaction_hash:
                document["transaction_hash"] = hexed(signed.transaction_hash)
        case _:
            pass  # a digest: the signature is all there is
    return document


def _read(path: Path) -> bytes:
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
