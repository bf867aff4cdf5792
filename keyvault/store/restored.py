"""That a database file was made from a backup: ``<database>.restored``, with what the backup had.

Nobody knows what was signed after the backup was made. So nothing is signed on top of it before members said how the
ledger goes on, which stands in the ledger behind what the backup had; from then on the file says nothing any more.
"""

import re
from pathlib import Path

from keyvault.core.errors import Corrupt
from keyvault.core.ids import Epoch
from keyvault.core.marks import Mark
from keyvault.store.flag import Flag

SUFFIX = ".restored"
_FORM = re.compile(
    r"keyvault/restored/v1\n([1-9][0-9]{0,8})\n(0|[1-9][0-9]{0,17})\n(0|[1-9][0-9]{0,17})\n([0-9a-f]{64})\n"
)


def write_restored(database: Path, mark: Mark) -> None:
    """Write, durably, what the backup had: incarnation, epoch, size and root. Raises OutcomeUnknown."""
    text = f"keyvault/restored/v1\n{mark.incarnation}\n{mark.epoch}\n{mark.size}\n{mark.root.hex()}\n"
    _flag(database).raise_(text)


def read_restored(database: Path) -> Mark | None:
    """Return what the backup had; None if the file was not made from one. Raises Corrupt."""
    text = _flag(database).reason()
    if not text:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        raise Corrupt(f"{database}{SUFFIX} is not what keyvault restore writes")
    incarnation, epoch, size = (int(number) for number in match.groups()[:3])
    return Mark(incarnation=incarnation, epoch=Epoch(epoch), size=size, root=bytes.fromhex(match[4]))


def _flag(database: Path) -> Flag:
    return Flag(database, SUFFIX[1:])
