"""Functions that change who rules a contract or what it does: OpenZeppelin's Ownable, AccessControl and proxies.

Each is ADMIN with the new owner, account or implementation as destination; a function that names none has the contract.
Roles and the calldata that an upgrade runs in the new code are not among the facts. ``ProxyAdmin`` names a proxy, too:
it is the destination of a second effect, so that policy must have named both.
"""

from typing import Final

from keyvault.core.intent import Operation
from keyvault.intents.call import Call, Effects, Family, family


def _to(call: Call, account: str) -> Effects:
    return (call.effect(Operation.ADMIN, account),)


def _to_with_call(call: Call, implementation: str, _data: bytes) -> Effects:
    return (call.effect(Operation.ADMIN, implementation),)


def _nobody(call: Call) -> Effects:
    return (call.effect(Operation.ADMIN),)


def _proxy(call: Call, proxy: str, account: str, _data: bytes = b"") -> Effects:
    return (call.effect(Operation.ADMIN, account), call.effect(Operation.ADMIN, proxy))


def _grant(call: Call, _role: bytes, account: str) -> Effects:
    return (call.effect(Operation.ADMIN, account),)


def _take(call: Call, _role: bytes, _account: str) -> Effects:
    return (call.effect(Operation.ADMIN),)


FUNCTIONS: Final[Family] = family(
    {
        "upgradeTo(address)": _to,
        "upgradeToAndCall(address,bytes)": _to_with_call,
        "changeAdmin(address)": _to,
        "upgrade(address,address)": _proxy,
        "upgradeAndCall(address,address,bytes)": _proxy,
        "changeProxyAdmin(address,address)": _proxy,
        "transferOwnership(address)": _to,
        "renounceOwnership()": _nobody,
        "acceptOwnership()": _nobody,
        "setOwner(address)": _to,
        "setAdmin(address)": _to,
        "grantRole(bytes32,address)": _grant,
        "revokeRole(bytes32,address)": _take,
        "renounceRole(bytes32,address)": _take,
    }
)
