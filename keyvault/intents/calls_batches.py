"""Functions that make several calls: ``multicall`` of a contract on itself, and Multicall3.

``multicall`` (Uniswap's routers, OpenZeppelin's Multicall) makes the contract call itself by delegatecall: sender and
contract stay, and so does the coin sent along, which is stated once, outside.
Multicall3 (github.com/mds1/multicall3) makes the calls itself: it is their sender, at its one address.
A batch of nothing is a CALL: no batch is without effect.
"""

from collections.abc import Iterable
from typing import Final

from keyvault.core.intent import Operation
from keyvault.intents.call import Call, Effects, Family, family, gather

MULTICALL3: Final = "0xca11bde05977b3631167028862be2a173976ca11"


def _multicall(call: Call, calls: tuple[bytes, ...]) -> Effects:
    return gather(_itself(call, data) for data in calls)


def _itself(call: Call, data: bytes) -> Effects:
    inner = call.inner("multicall", source=call.source, to=call.to, value=0, data=data)
    # Calldata of no bytes runs the contract's fallback: it moves no coin, and what it does is unknown.
    return call.read(inner) if data else (inner.effect(Operation.CALL),)


def _multicall_until(call: Call, _deadline_or_block: int | bytes, calls: tuple[bytes, ...]) -> Effects:
    return _multicall(call, calls)


def _aggregate(call: Call, calls: tuple[tuple[str, bytes], ...]) -> Effects:
    return _each(call, ((target, 0, data) for target, data in calls))


def _try_aggregate(call: Call, _all: bool, calls: tuple[tuple[str, bytes], ...]) -> Effects:  # noqa: FBT001 - decoded arguments are handed over in their order
    return _aggregate(call, calls)


def _aggregate3(call: Call, calls: tuple[tuple[str, bool, bytes], ...]) -> Effects:
    return _each(call, ((target, 0, data) for target, _may_fail, data in calls))


def _aggregate3_value(call: Call, calls: tuple[tuple[str, bool, int, bytes], ...]) -> Effects:
    return _each(call, ((target, value, data) for target, _may_fail, value, data in calls))


def _each(call: Call, calls: Iterable[tuple[str, int, bytes]]) -> Effects:
    return gather(
        call.read(call.inner("multicall3", source=call.to, to=target, value=value, data=data))
        for target, value, data in calls
    )


FUNCTIONS: Final[Family] = {
    **family(
        {
            "multicall(bytes[])": _multicall,
            "multicall(uint256,bytes[])": _multicall_until,
            "multicall(bytes32,bytes[])": _multicall_until,
        }
    ),
    **family(
        {
            "aggregate((address,bytes)[])": _aggregate,
            "tryAggregate(bool,(address,bytes)[])": _try_aggregate,
            "blockAndAggregate((address,bytes)[])": _aggregate,
            "tryBlockAndAggregate(bool,(address,bytes)[])": _try_aggregate,
            "aggregate3((address,bool,bytes)[])": _aggregate3,
            "aggregate3Value((address,bool,uint256,bytes)[])": _aggregate3_value,
        },
        only_at=MULTICALL3,
    ),
}
