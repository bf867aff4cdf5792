"""One call to an EVM contract, as the families of functions see it, and the table entry of a function.

A handler gets the call and its arguments and returns all effects of the call beyond the coin sent along. It returns
nothing if the function means something else at this contract, or does nothing: the call is then unknown. Coin that is
sent along is stated by ``calls``, unless the entry says that the handler states it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.core.quickly import quickly_made
from keyvault.intents import abi

ZERO_ADDRESS: Final = "0x" + "00" * 20
UNLIMITED: Final = 2**256 - 1
"""Amount of an allowance over everything."""

Effects: TypeAlias = tuple[Effect, ...]
Handler: TypeAlias = Callable[..., Effects]
"""Takes a Call and, one by one, the arguments that the function's signature names."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """``source`` calls ``to``; addresses are in lower case. ``read`` returns the effects of a call inside this one.

    ``fee_max`` goes into every effect of the call itself, 0 into those of calls inside; None: nothing pays a fee.
    """

    chain_id: int | None
    source: str
    to: str
    value: int
    data: bytes
    via: str | None
    depth: int
    read: "Callable[[Call], Effects]"
    fee_max: int | None = None

    @property
    def selector(self) -> str:
        """First four bytes of calldata, or all of it."""
        return "0x" + self.data[: abi.SELECTOR_BYTES].hex()

    def inner(self, step: str, *, source: str, to: str, value: int, data: bytes) -> "Call":
        """Return a call that this one makes; ``step`` names this one. Raise Malformed beyond CALL_DEPTH_MAX."""
        if self.depth >= limits.CALL_DEPTH_MAX:
            raise Malformed(abi.FIELD, f"calls are nested deeper than {limits.CALL_DEPTH_MAX}")
        return Call(
            chain_id=self.chain_id,
            source=source,
            to=to,
            value=value,
            data=data,
            via=step if self.via is None else f"{self.via} > {step}",
            depth=self.depth + 1,
            read=self.read,
            fee_max=None if self.fee_max is None else 0,
        )

    def transfer(self, *, asset: str | None, amount: int | None, destination: str | None, source: str) -> Effect:
        """Return the effect that this call moves ``amount`` of ``asset``."""
        return Effect(
            operation=Operation.TRANSFER,
            chain_id=self.chain_id,
            destination=destination,
            selector=self.selector,
            amount=amount,
            fee_max=self.fee_max,
            asset=asset,
            source=source,
            contract=self.to,
            via=self.via,
        )

    def allowance(
        self,
        *,
        asset: str,
        amount: int | None,
        spender: str,
        owner: str,
        expires_at: UnixMillis | None = None,
    ) -> Effect:
        """Return the effect that ``spender`` may move up to ``amount`` of ``asset`` of ``owner``."""
        return Effect(
            operation=Operation.ALLOWANCE,
            chain_id=self.chain_id,
            destination=spender,
            selector=self.selector,
            amount=amount,
            fee_max=self.fee_max,
            asset=asset,
            source=owner,
            contract=self.to,
            via=self.via,
            expires_at=expires_at,
        )

    def effect(self, operation: Operation, destination: str | None = None) -> Effect:
        """Return an effect of this call that moves nothing; without ``destination`` that is the contract.

        A CALL states that it moves no coin: what is sent along is an effect of its own, so that a rule can cap both.
        """
        return Effect(
            operation=operation,
            chain_id=self.chain_id,
            destination=destination or self.to,
            selector=self.selector,
            amount=0 if operation is Operation.CALL else None,
            fee_max=self.fee_max,
            source=self.source,
            contract=self.to,
            via=self.via,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A known function. ``only_at``: the one contract at which it means this; None: everywhere."""

    arguments: abi.Arguments
    handler: Handler
    only_at: str | None = None
    states_value: bool = False


Family: TypeAlias = dict[bytes, Function]
"""Functions by selector."""


def family(functions: dict[str, Handler], *, only_at: str | None = None, states_value: bool = False) -> Family:
    """Return the table of functions whose signatures are given."""
    table: Family = {}
    for signature, handler in functions.items():
        arguments = abi.function(signature)
        table[arguments.selector] = Function(
            arguments=arguments, handler=handler, only_at=only_at, states_value=states_value
        )
    return table


def gather(parts: Iterable[Effects]) -> Effects:
    """Return all effects in one tuple; raise Malformed as soon as there are more than EFFECTS_MAX."""
    effects: list[Effect] = []
    for part in parts:
        effects += part
        if len(effects) > limits.EFFECTS_MAX:
            raise Malformed(abi.FIELD, f"has more than {limits.EFFECTS_MAX} effects")
    return tuple(effects)


def completeness_of(effects: Effects) -> Completeness:
    """Return FULL only for transfers and allowances of which everything is known, OPAQUE if anything is opaque."""
    complete = Completeness.FULL
    for effect in effects:
        if effect.operation is Operation.OPAQUE:
            return Completeness.OPAQUE
        if effect.operation not in _MOVES or None in (effect.chain_id, effect.destination, effect.amount):
            complete = Completeness.PARTIAL
    return complete


_MOVES = (Operation.TRANSFER, Operation.ALLOWANCE)
