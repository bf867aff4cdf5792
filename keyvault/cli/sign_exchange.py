"""``keyvault sign`` for exchanges: requests, messages that are signed by themselves, log-ons."""

from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.sign_wish import INPUT, Wish, read, sign, sign_options
from keyvault.cli.target import Target
from keyvault.client import payloads
from keyvault.core.errors import Malformed

_ACCOUNT = "Id of the API key at the venue; not a secret."


@click.command()
@click.option(
    "--venue", type=click.Choice(tuple(payloads.REQUESTS)), default="binance", show_default=True, help="The exchange."
)
@click.option("--method", default="", help="GET, POST, PUT or DELETE. Binance and Kraken: none.")
@click.option("--path", default="", help="Path from / on; Deribit's has the query. Binance: none.")
@click.option("--query", default="", help="Query string as it will be sent, without '?' and signature.")
@click.option("--body", default="", help="Body as it will be sent, without signature.")
@click.option("--body-file", type=INPUT, help="File with the body, or - for stdin; every byte of it is sent.")
@click.option("--account", default="", help=_ACCOUNT + " Binance: none.")
@click.option("--address", "holder", default="", help="Polymarket only: address of the account, 0x and 40 hex digits.")
@sign_options
def exchange(wish: Wish, target: Target, body: str, body_file: Path | None, holder: str, **request: str) -> None:
    """Sign a REST request for an exchange; prints the path, query, headers and body to send.

    Time, nonce and signature are added. A passphrase (OKX, Polymarket) is yours to add.

    \b
    Example:
      keyvault sign exchange --key binance-1 --query 'symbol=ETHUSDT&side=BUY&type=MARKET&quantity=1'
      keyvault sign exchange --key okx-1 --venue okx --method POST --path /api/v5/trade/order --account 5c1d \\
        --body '{"instId":"BTC-USDT","tdMode":"cash","side":"buy","ordType":"limit","sz":"1","px":"9000"}'
    """  # noqa: D301  \b tells click to keep the lines
    if body and body_file is not None:
        raise UsageProblem("give the body in one way: --body or --body-file")
    if body_file is not None:
        body = _text(body_file)
    sign(target, wish, payloads.exchange(body=body, address=holder, **request))


@click.command("exchange-message")
@click.argument("file", type=INPUT)
@click.option(
    "--venue", type=click.Choice(tuple(payloads.MESSAGES)), default="binance", show_default=True, help="The exchange."
)
@click.option("--method", required=True, help="What is asked for, as order.place.")
@click.option("--account", required=True, help=_ACCOUNT)
@sign_options
def exchange_message(wish: Wish, target: Target, file: Path, venue: str, method: str, account: str) -> None:
    """Sign one message of a WebSocket API: a JSON FILE (or - for stdin) with its parameters; prints the message.

    apiKey, timestamp and signature are added.

    \b
    Example:
      echo '{"symbol":"ETHUSDT","side":"BUY","type":"MARKET","quantity":"1"}' | \\
        keyvault sign exchange-message --key binance-1 --method order.place --account vmPUZE6m -
    """  # noqa: D301  as above
    payload = payloads.exchange_message(venue, method=method, parameters=read(file).strip(), account=account)
    sign(target, wish, payload)


@click.command()
@click.option(
    "--venue", type=click.Choice(sorted({venue for venue, _ in payloads.LOGONS})), required=True, help="The exchange."
)
@click.option(
    "--protocol",
    type=click.Choice(sorted({protocol for _, protocol in payloads.LOGONS})),
    required=True,
    help="binance: websocket, fix. okx: websocket. kraken: fix. deribit: oauth.",
)
@click.option("--account", required=True, help=_ACCOUNT)
@click.option("--sender-comp-id", default="", help="FIX: SenderCompID (49).")
@click.option("--target-comp-id", default="", help="FIX: TargetCompID (56).")
@click.option("--sequence-number", type=click.IntRange(min=1), help="FIX: MsgSeqNum (34).")
@click.option("--data", default="", help="Deribit: letters and digits that are signed as well.")
@sign_options
def logon(wish: Wish, target: Target, venue: str, sequence_number: int | None, **given: str) -> None:
    """Sign what opens a session; whoever holds the message acts without asking again. Prints the message to send.

    Without --json the fields of FIX are shown with | between them. OKX's message lacks the passphrase.

    \b
    Example:
      keyvault sign logon --key binance-1 --venue binance --protocol fix --account vmPUZE6m \\
        --sender-comp-id DESK --target-comp-id SPOT --sequence-number 1 --json
    """  # noqa: D301  as above
    sign(target, wish, payloads.logon(venue, sequence_number=sequence_number or 0, **given))


def _text(path: Path) -> str:
    try:
        return read(path).decode()
    except UnicodeDecodeError:
        raise Malformed(str(path), "is not UTF-8") from None


COMMANDS = (exchange, exchange_message, logon)
