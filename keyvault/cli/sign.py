"""``keyvault sign``: what a bot does, by hand. Shows what the payload means before it is sent."""

import functools
from collections.abc import Callable
from pathlib import Path

import click

from keyvault.cli import sign_chains, sign_exchange
from keyvault.cli.evm_fields import FIELD_NAMES, Fields, fields_of, unsigned_authorization, unsigned_transaction
from keyvault.cli.exits import UsageProblem
from keyvault.cli.params import Hex, Wei, parse_hex
from keyvault.cli.sign_wish import INPUT, Wish, read, sign, sign_options
from keyvault.cli.target import Command, Target, with_options
from keyvault.client import payloads


@click.group()
def command() -> None:
    """Have a payload signed, or learn why not.

    \b
    Example:
      keyvault sign evm-tx --key eth-mm-1 --tx-hex 0x02ef01... --deployment ./desk
      keyvault sign exchange --key binance-1 --venue binance --query 'symbol=ETHUSDT&side=BUY&type=MARKET&quantity=1'
    """  # noqa: D301  \b tells click to keep the lines


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
@click.option("--tx-hex", type=Hex(), help="The unsigned transaction, 0x and hex: EIP-155 legacy, or type and RLP.")
@click.option("--tx", "tx_file", type=INPUT, help="File with those hex digits, or - for stdin.")
@_field_options
@sign_options
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
        tx_hex = parse_hex(read(tx_file).decode("ascii", "replace"))
    sign(target, wish, payloads.evm_transaction(tx_hex or b""))


@command.command("typed-data")
@click.argument("file", type=INPUT)
@sign_options
def typed_data(wish: Wish, target: Target, file: Path) -> None:
    """Sign EIP-712 typed data: a JSON FILE (or - for stdin) with types, primaryType, domain and message.

    \b
    Example:
      keyvault sign typed-data --key eth-mm-1 order.json --deployment ./desk
    """  # noqa: D301  as above
    sign(target, wish, payloads.typed_data(read(file)))


@command.command()
@click.option("--chain-id", type=click.IntRange(min=0), required=True, help="EIP-155 chain id; 0: every chain.")
@click.option("--address", "code", required=True, help="Address of the contract whose code the account gets.")
@click.option("--nonce", type=click.IntRange(min=0), required=True, help="The account's nonce when it is used.")
@sign_options
def authorization(wish: Wish, target: Target, chain_id: int, code: str, nonce: int) -> None:
    """Sign an EIP-7702 authorization: the code at an address may act as the account.

    \b
    Example:
      keyvault sign authorization --key eth-mm-1 --chain-id 1 --nonce 8 \\
        --address 0x63c0c19a282a1B52b07dD5a65b58948A07DAE32B
    """  # noqa: D301  as above
    sign(target, wish, payloads.evm_authorization(unsigned_authorization(chain_id, code, nonce)))


@command.command()
@click.argument("file", type=INPUT)
@sign_options
def message(wish: Wish, target: Target, file: Path) -> None:
    """Sign a personal message (EIP-191): all bytes of FILE (or - for stdin), line end included.

    \b
    Example:
      printf 'I own this account' | keyvault sign message --key eth-mm-1 -
    """  # noqa: D301  as above
    sign(target, wish, payloads.evm_message(read(file)))


@command.command()
@click.argument("digest", type=Hex())
@sign_options
def digest(wish: Wish, target: Target, digest: bytes) -> None:
    """Sign 32 bytes that nobody can look into; refused unless the policy names this key and says so.

    \b
    Example:
      keyvault sign digest --key eth-mm-1 0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """  # noqa: D301  as above
    sign(target, wish, payloads.raw_digest(digest))


for _other in (*sign_chains.COMMANDS, *sign_exchange.COMMANDS):
    command.add_command(_other)
