"""``keyvault sign`` for chains beside the EVM's, and for venues that are chains of their own."""

import base64
from pathlib import Path

import click

from keyvault.cli.output import JsonValue, hexed
from keyvault.cli.session import call
from keyvault.cli.sign_wish import (
    INPUT,
    Wish,
    chosen_id,
    encoding_option,
    read,
    read_bytes,
    show,
    sign,
    sign_options,
    signer_of,
    tell,
)
from keyvault.cli.target import Target
from keyvault.client import AsyncClient, SignedPsbt, payloads
from keyvault.client.psbt import inputs_to_sign


@click.command()
@click.argument("file", type=INPUT)
@click.option("--vault", default="", help="Vault or sub-account that is traded for, as 0x and 40 hex digits.")
@click.option(
    "--expires-after", type=click.IntRange(min=0), default=0, help="Unix time in ms after which it is refused. [never]"
)
@click.option("--testnet", is_flag=True, help="For the testnet.")
@sign_options
def hyperliquid(wish: Wish, target: Target, file: Path, vault: str, expires_after: int, testnet: bool) -> None:
    """Sign an action of Hyperliquid: a JSON FILE (or - for stdin), whose order is signed; prints the body to post.

    \b
    Example:
      echo '{"type":"cancel","cancels":[{"a":1,"o":77}]}' | keyvault sign hyperliquid --key eth-mm-1 -
    """  # noqa: D301  \b tells click to keep the lines
    payload = payloads.hyperliquid(
        read(file).strip(), vault_address=vault, expires_after_ms=expires_after, testnet=testnet
    )
    sign(target, wish, payload)


@click.command()
@click.argument("file", type=INPUT)
@encoding_option
@sign_options
def solana(wish: Wish, target: Target, file: Path, encoding: str) -> None:
    """Sign a serialised Solana message in FILE (or - for stdin); prints the transaction for sendTransaction.

    \b
    Example:
      keyvault sign solana --key sol-mm-1 message.b64
    """  # noqa: D301  as above
    sign(target, wish, payloads.solana(read_bytes(file, encoding)))


@click.command()
@click.argument("file", type=INPUT)
@encoding_option
@sign_options
def cosmos(wish: Wish, target: Target, file: Path, encoding: str) -> None:
    """Sign a serialised SignDoc in FILE (or - for stdin); prints the TxRaw for BroadcastTx.

    \b
    Example:
      keyvault sign cosmos --key dydx-1 sign-doc.b64
    """  # noqa: D301  as above
    sign(target, wish, payloads.cosmos(read_bytes(file, encoding)))


@click.command()
@click.argument("file", type=INPUT)
@encoding_option
@click.option(
    "--network",
    type=click.Choice(["mainnet", "testnet", "regtest"]),
    default="mainnet",
    show_default=True,
    help="How addresses are written; the signature binds no network.",
)
@sign_options
def psbt(wish: Wish, target: Target, file: Path, encoding: str, network: str) -> None:
    """Sign all inputs of a PSBT that wait for the key: FILE, or - for stdin.

    Prints the PSBT with the signatures, and the transaction for sendrawtransaction once every input is complete. The
    request of each input has the id REQUEST_ID.NUMBER.

    \b
    Example:
      keyvault sign psbt --key btc-1 spend.psbt --encoding binary
    """  # noqa: D301  as above
    data, chosen = read_bytes(file, encoding), chosen_id(wish)

    async def told_and_signed(client: AsyncClient) -> SignedPsbt:
        signer = await signer_of(client, wish)
        tell(inputs_to_sign(data, network, signer).values(), signer)
        return await client.sign_psbt(
            wish.key, data, network=network, request_id=chosen, wait_for_approval_s=wish.wait_s
        )

    show(_document(call(target, told_and_signed)))


def _document(signed: SignedPsbt) -> dict[str, JsonValue]:
    first = next(iter(signed.signatures.values()))
    return {
        "request_id": signed.request_id,
        "key_version": first.key_version,
        "ledger_indices": [each.ledger_index for each in signed.signatures.values()],
        "inputs": list(signed.signatures),
        "psbt": base64.b64encode(signed.psbt).decode("ascii"),
        "raw_transaction": hexed(signed.transaction) if signed.transaction else None,
    }


COMMANDS = (hyperliquid, solana, cosmos, psbt)
