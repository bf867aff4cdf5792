"""``keyvault token``: the tokens of an enclave whose keys move, and how a further one joins.

A token that joins can open every key of the enclave. So members compare, by another way than the server, the SHA-256
of its transport key: ``offer`` prints it on the node, ``approve`` shows it to each of them.
"""

import asyncio
import hashlib
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from keyvault import config
from keyvault.app import token_config
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, emit, fields, json_option, printable, say, table
from keyvault.cli.session import call, signer
from keyvault.cli.target import (
    ChosenMember,
    Command,
    Target,
    approval_options,
    member_options,
    target_options,
    with_options,
)
from keyvault.cli.told import emit_proposal, transport_key_text
from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyTransport
from keyvault.core.limits import TRANSPORT_KEY_DER_BYTES_MAX
from keyvault.core.wrap import parse_transport_key
from keyvault.hsm.create import create_empty_token
from keyvault.hsm.supervisor import open_token

_FILE = click.Path(dir_okay=False, path_type=Path)
_REASON = click.option("--reason", required=True, help="Why, for the members and the ledger; ASCII.")


@click.group()
def command() -> None:
    """Let further tokens have the keys of an enclave that was made with --key-transport kwp.

    \b
    Example:
      keyvault token create ./kv-2/token --label hot
      keyvault token offer --config ./kv-2/keyvault.toml --out kv-2.pem
      keyvault token join spiffe://keyvault.local/node/kv-2 --transport-key kv-2.pem --reason "site 2" --member alice
      keyvault approve 3f2a91bc77e0 --member bob
      keyvault token list
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--label", required=True, help="Label of the token, as in keyvault.toml.")
@json_option
def create(directory: Path, label: str) -> None:
    """Make an empty SoftHSM token in DIRECTORY, for a node that joins. Nothing is overwritten.

    \b
    Example:
      keyvault token create ./kv-2/token --label hot
    """  # noqa: D301  as above
    made = create_empty_token(directory, label)
    pairs = (
        ("label", made.label),
        ("pin_file", str(made.pin_file)),
        ("so_pin_file", str(made.so_pin_file)),
        ("softhsm_conf", str(made.softhsm2_conf)),
    )
    emit(dict(pairs), lambda: fields(pairs))
    say('Next: name them in [token] of its keyvault.toml, with key_transport = "kwp"; then `keyvault token offer`')


@command.command()
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), required=True, help="The node's keyvault.toml."
)
@click.option("--out", type=_FILE, help="New file for the key. [printed]")
@json_option
def offer(config_file: Path, out: Path | None) -> None:
    """Print the transport key of this node's token, and its SHA-256, which members compare. Nothing in it is secret.

    The key is made in the token when this is first asked, and stays there.

    \b
    Example:
      keyvault token offer --config ./kv-2/keyvault.toml --out kv-2.pem
    """  # noqa: D301  as above
    checked = config.load(config_file)
    if checked.token.key_transport is not KeyTransport.KWP:
        raise UsageProblem(f'{config_file}: [token] must say key_transport = "kwp", as in the whole enclave')
    der = asyncio.run(_transport_key(checked))
    pem = load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    if out is not None:
        with out.open("x") as file:
            file.write(pem)
    sha256 = hashlib.sha256(der).hexdigest()
    text = f"{transport_key_text(der)}\n\n{pem.rstrip() if out is None else f'The key is in {out}.'}"
    emit({"transport_key_sha256": sha256, "transport_key_pem": pem}, lambda: text)


async def _transport_key(checked: config.Config) -> bytes:
    token = await open_token(token_config(checked))
    try:
        return await token.transport_public_key()
    finally:
        await token.close()


def _change_options(function: Command) -> Command:
    """Give a command ``node``, ``member``, ``approvers``, ``target``, --reason and --json."""
    node = click.argument("node", metavar="SPIFFE-ID")
    options = (node, _REASON, member_options, approval_options, target_options("admin"), json_option)
    return with_options(function, options)


@command.command()
@click.option("--transport-key", type=_FILE, required=True, help="What `keyvault token offer` printed, PEM.")
@_change_options
def join(
    node: str,
    transport_key: Path,
    reason: str,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Propose that the token of this node gets the power to open every key. It cannot be taken back.

    \b
    Example:
      keyvault token join spiffe://keyvault.local/node/kv-2 --transport-key kv-2.pem --reason "site 2" --member alice
    """  # noqa: D301  as above
    der = _read_transport_key(transport_key)
    asker, others = signer(member), tuple(map(signer, approvers))
    proposal = call(target, lambda client: client.join_token(node, der, reason=reason, signer=asker, approvers=others))
    emit_proposal(proposal)


@command.command()
@_change_options
def leave(node: str, reason: str, target: Target, member: ChosenMember, approvers: tuple[ChosenMember, ...]) -> None:
    """Propose to strike a token off the list whose node is gone for good. It can open what it could.

    If it may be in other hands, make new versions of all keys: the wrapping key cannot be replaced.

    \b
    Example:
      keyvault token leave spiffe://keyvault.local/node/kv-2 --reason "scrapped, disk destroyed" --member alice
    """  # noqa: D301  as above
    asker, others = signer(member), tuple(map(signer, approvers))
    emit_proposal(call(target, lambda client: client.leave_token(node, reason=reason, signer=asker, approvers=others)))


@command.command(name="list")
@target_options("admin", "auditor", "approver")
@json_option
def list_tokens(target: Target) -> None:
    """List the nodes whose tokens have joined; `keyvault key list` says which keys each of them has.

    \b
    Example:
      keyvault token list --deployment ./desk
    """  # noqa: D301  as above
    found = call(target, lambda client: client.get_enclave())
    document: dict[str, JsonValue] = {"keys_move": found.keys_move, "joined_nodes": list(found.joined_nodes)}
    rows = [(printable(node),) for node in found.joined_nodes]
    emit(document, lambda: table(("node",), rows) if found.keys_move else "The keys of this enclave stay in one token.")


def _read_transport_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(4 * TRANSPORT_KEY_DER_BYTES_MAX))
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        parse_transport_key(der)
    except (OSError, ValueError, Malformed) as error:
        raise UsageProblem(f"{path}: is no transport key as `keyvault token offer` prints it ({error})") from None
    return der
