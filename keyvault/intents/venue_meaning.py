"""The worst meaning of a set of parameters, where a signature binds neither method nor path.

Each known name carries the worst operation of all the requests in which it is needed; a request is the worst of its
names:

    REQUEST < CANCEL < ORDER, WITHDRAW

and besides that SETUP, if a name of it is there: settings stand beside the rest, above nothing and below nothing. A
request that says nothing is SETUP: venues have endpoints that need no parameter and change something. Whoever may sign
an operation can in effect also do those before it. The rule is monotone: leaving names out never gives an operation
that was not there, unless all are left out. A name that is not known makes the request OPAQUE, and so does a mixture
of ORDER and WITHDRAW, which no known request has.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from keyvault.core.intent import Operation


def table(names: Mapping[Operation, str]) -> dict[str, Operation]:
    """Return the operation of each name, from texts of names."""
    return {name: operation for operation, text in names.items() for name in text.split()}


class Meanings:
    """The operations of sets of names, after one venue's table."""

    def __init__(self, names: Mapping[str, Operation], saying_nothing: frozenset[str] = frozenset()) -> None:
        self.names = names
        self._saying_nothing = saying_nothing
        self._of = lru_cache(maxsize=256)(self._operations)  # a bot uses a handful of sets

    def of(self, names: Iterable[str]) -> tuple[Operation, ...]:
        """Return the operations that a request with these names can be: one, and SETUP if that is possible, too."""
        return self._of(frozenset(names))

    def _operations(self, names: frozenset[str]) -> tuple[Operation, ...]:
        if names <= self._saying_nothing:
            return (Operation.SETUP,)
        found = {self.names.get(name, Operation.OPAQUE) for name in names}
        if Operation.OPAQUE in found or {Operation.ORDER, Operation.WITHDRAW} <= found:
            return (Operation.OPAQUE,)
        worst = next((each for each in (Operation.WITHDRAW, Operation.ORDER, Operation.CANCEL) if each in found), None)
        if Operation.SETUP not in found:
            return (worst or Operation.REQUEST,)
        return (Operation.SETUP,) if worst is None else (worst, Operation.SETUP)
