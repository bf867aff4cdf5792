"""A process that appends until it is killed or the disk is full, and says after each append what is durable.

Arguments: the file, and the most bytes that a file may have (0: no bound). Lines: ``<size> <root hex>``, and last
``unknown`` if an outcome was not known.
"""

import resource
import sys
from pathlib import Path

from keyvault.core.errors import OutcomeUnknown
from keyvault.store.base import Store
from keyvault.store.sqlite import open_store
from tests.store.worlds import append

BATCH = 4


def main() -> None:
    """Append for ever."""
    path, bound = Path(sys.argv[1]), int(sys.argv[2])
    store = open_store(path, create=not path.exists())
    epoch = store.acquire_term("child")
    if bound:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound))
    try:
        _append_for_ever(store, epoch)
    except OutcomeUnknown:
        sys.stdout.write("unknown\n")
        sys.stdout.flush()


def _append_for_ever(store: Store, epoch: int) -> None:
    while True:
        size = store.head().size
        head = append(store, epoch, *(f"{size + i}:" + "x" * 500 for i in range(BATCH)))
        sys.stdout.write(f"{head.size} {head.root.hex()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
