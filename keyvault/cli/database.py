"""``keyvault database``: the PostgreSQL database that the nodes of an enclave share."""

from contextlib import closing, suppress
from pathlib import Path

import click

from keyvault import config
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, json_option
from keyvault.core.errors import Conflict, NotFound, RolledBack
from keyvault.core.ids import parse_enclave_name
from keyvault.engine.recovery import Recovered, recover
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.store.anchor import Anchor
from keyvault.store.base import Head, Store
from keyvault.store.postgres.logins import admit, dismiss
from keyvault.store.postgres.migrate import migrate, newest
from keyvault.store.postgres.store import create_ledger, open_store
from keyvault.store.sqlite import open_store as open_file

_BATCH = 500
_CONNINFO = click.option(
    "--conninfo",
    required=True,
    metavar="TEXT",
    help="libpq connection string of the database's owner or a superuser; no password in it.",
)


@click.group()
def command() -> None:
    """Prepare the PostgreSQL database that several nodes share, and move a ledger into it.

    \b
    Example:
      keyvault database migrate --conninfo "host=db1,db2,db3 user=postgres dbname=keyvault sslmode=verify-full ..."
      keyvault database admit keyvault_node_1 --enclave hot --conninfo "host=db1,db2,db3 user=postgres ..."
      keyvault database load --config ./desk/keyvault.toml --conninfo "host=db1,db2,db3 user=postgres ..."
    """  # noqa: D301  \b tells click to keep the lines


@command.command("migrate")
@_CONNINFO
@click.option("--to", type=int, help=f"Version of the schema; 0 takes everything back. [newest: {newest()}]")
@json_option
def migrate_command(conninfo: str, to: int | None) -> None:
    """Bring the database to the schema that this build knows, or to another version.

    Roles that are made, none of which can log in: keyvault_owner has the tables; keyvault_server may call what a server
    needs and touch no table; keyvault_auditor may read. Give each node a login role of its own, and
    nothing but `keyvault database admit`. Nobody else may connect to the database afterwards, but superusers, and those
    who are given CONNECT by name.

    \b
    Example:
      keyvault database migrate --conninfo "host=db1,db2,db3 user=postgres dbname=keyvault sslmode=verify-full ..."
    """  # noqa: D301  as above
    done = migrate(conninfo, to)
    emit({"done": list(done)}, lambda: "\n".join(done) or "nothing to do")


@command.command("admit")
@click.argument("login")
@click.option("--enclave", required=True, metavar="NAME", help="Whose ledger the login may use.")
@_CONNINFO
@click.option("--remove", is_flag=True, help="Take it back: the login's next statement is refused.")
@json_option
def admit_command(login: str, enclave: str, conninfo: str, *, remove: bool) -> None:
    """Let LOGIN, the database role of a node, use the ledger of one enclave.

    A login that is not admitted can neither read nor write, so a node of one enclave has no power over another. The
    role must be there and able to log in; it becomes a member of keyvault_server. The ledger may come later. Run it
    once for each node, and once more for each further enclave of a login.

    \b
    Example:
      keyvault database admit keyvault_node_1 --enclave hot --conninfo "host=db1,db2,db3 user=postgres ..."
    """  # noqa: D301  as above
    name = parse_enclave_name(enclave)
    (dismiss if remove else admit)(conninfo, login, name)
    may = "may not use" if remove else "may use"
    emit({"login": login, "enclave": name, "admitted": not remove}, lambda: f"{login} {may} the ledger of {name}.")


@command.command()
@_CONNINFO
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="A keyvault.toml.")
@json_option
def load(conninfo: str, config_file: Path) -> None:
    """Move the ledger of a deployment into the database, verified before and after.

    First stop the server, and add [postgres] to its keyvault.toml, with the node's own address and certificate, and a
    login that is admitted (`keyvault database admit`). The file stays as this node's copy. The other nodes get the same
    section with theirs; one whose file does not exist yet makes its copy from the database.

    \b
    Example:
      keyvault database load --config ./desk/keyvault.toml --conninfo "host=db1,db2,db3 user=postgres ..."
    """  # noqa: D301  as above
    checked = config.load(config_file)
    if checked.postgres is None:
        raise UsageProblem(f"{config_file} has no section [postgres]: add it first, with conninfo and address")
    enclave = checked.enclave.name
    with closing(open_file(checked.enclave.database, create=False)) as file:
        epoch = _whole(file).state.epoch
        settings, anchor = checked.postgres, Anchor(checked.enclave.database)
        with suppress(NotFound):  # a login that is not admitted must not leave an empty ledger behind
            open_store(settings.conninfo, enclave, anchor, synchronous=settings.synchronous).close()
        create_ledger(conninfo, enclave, after_epoch=epoch)
        with closing(open_store(settings.conninfo, enclave, anchor, synchronous=settings.synchronous)) as shared:
            shared.check_synchronous()
            _move(file, shared)
            recover(shared)
        size = file.head().size
    emit({"enclave": enclave, "entries": size}, lambda: f"{size} entries of {enclave} are in the database.")


def _whole(file: Store) -> Recovered:
    found = recover(file)
    if found.state.pair is not None:
        raise Conflict("members named a pair in this ledger: it is served with [pair], and cannot move to a database")
    if found.quarantine is not None:
        raise RolledBack(f"this is not the newest ledger: {found.quarantine.found}")
    return found


def _move(file: Store, shared: Store) -> None:
    """Append everything; raise Conflict if what arrived is not what left."""
    epoch, tree, head = shared.acquire_term("load"), Tree(), shared.head()
    while True:
        entries = file.read_entries(head.size, _BATCH)
        if not entries:
            break
        tree.extend([leaf_hash(entry.body) for entry in entries])
        new = Head(size=tree.size, root=tree.root())
        shared.append(epoch=epoch, expected=head, entries=entries, new=new)
        head = new
    newest = file.checkpoint()
    if newest is not None:
        shared.put_checkpoint(epoch=epoch, size=newest[0], note=newest[1])
    if shared.head() != file.head():
        raise Conflict("the ledger in the database is not that of the file: drop it and begin again")
