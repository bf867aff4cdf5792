"""Permits: what is allowed to whom, until when; attacks A19 and A20."""

from typing import Any

import pytest

from keyvault.core.intent import Bound, Completeness, Operation
from tests.intents.typed_building import ATTACKER, OWN, SPENDER, TOKEN, document, effect, read

PERMIT = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
DAI = "Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)"
DETAILS = "PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
SINGLE = f"PermitSingle(PermitDetails details,address spender,uint256 sigDeadline){DETAILS}"
BATCH = f"PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline){DETAILS}"
PERMISSIONS = "TokenPermissions(address token,uint256 amount)"
TRANSFER = f"PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline){PERMISSIONS}"
TRANSFERS = TRANSFER.replace("PermitTransferFrom(TokenPermissions", "PermitBatchTransferFrom(TokenPermissions[]")
AUTHORIZED = "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
PERMIT2 = {"name": "Permit2", "chainId": 1, "verifyingContract": "0x000000000022D473030F116dDEE9F6B43aC78BA3"}
USDC, WETH = "0x" + "c1" * 20, "0x" + "c2" * 20
UNLIMITED = 2**256 - 1
BOUND = {Bound.ACCOUNT, Bound.NONCE, Bound.EXPIRY, Bound.CHAIN}


def permit(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return a permit of EIP-2612."""
    return document(
        PERMIT, {"owner": OWN, "spender": SPENDER, "value": 5, "nonce": 7, "deadline": 1_800_000_000, **changes}
    )


def test_permit() -> None:
    """A permit of EIP-2612 is an allowance of the verifying token, worth something until its deadline."""
    value = permit()
    intent = read(value)
    expected = effect(value, Operation.ALLOWANCE, asset=TOKEN, destination=SPENDER, source=OWN, amount=5)
    assert intent.effects == (expected,)
    assert intent.completeness is Completeness.FULL
    assert intent.expires_at == 1_800_000_000_000
    assert intent.slot == f"permit:1:{TOKEN}:{OWN}:7"
    assert intent.binds == BOUND


def test_phished_permit() -> None:
    """A19: all for ever to somebody states the unlimited amount, the spender and that there is no end."""
    value = permit(spender=ATTACKER, value=UNLIMITED, deadline=UNLIMITED)
    intent = read(value)
    expected = effect(value, Operation.ALLOWANCE, asset=TOKEN, destination=ATTACKER, source=OWN, amount=UNLIMITED)
    assert intent.effects == (expected,)
    assert intent.expires_at is None


@pytest.mark.parametrize(
    ("seconds", "millis"),
    [(0, 0), (1, 1_000), ((2**63 - 1) // 1000, (2**63 - 1) // 1000 * 1000), (2**63 // 1000 + 1, None)],
)
def test_ends_of_time(seconds: int, millis: int | None) -> None:
    """An end that does not fit into 63 bits of milliseconds is none; every other one is exact."""
    assert read(permit(deadline=seconds)).expires_at == millis


@pytest.mark.parametrize(("allowed", "amount"), [(True, UNLIMITED), (False, 0)])
@pytest.mark.parametrize(("expiry", "end"), [(0, None), (1_800_000_000, 1_800_000_000_000)])
def test_permit_of_dai(allowed: bool, amount: int, expiry: int, end: int | None) -> None:  # noqa: FBT001 - a case
    """DAI's permit allows all or nothing, and expiry 0 is for ever."""
    message = {"holder": OWN, "spender": SPENDER, "nonce": 3, "expiry": expiry, "allowed": allowed}
    value = document(DAI, message)
    intent = read(value)
    expected = effect(value, Operation.ALLOWANCE, asset=TOKEN, destination=SPENDER, source=OWN, amount=amount)
    assert intent.effects == (expected,)
    assert (intent.expires_at, intent.slot) == (end, f"permit:1:{TOKEN}:{OWN}:3")


@pytest.mark.parametrize("name", ["TransferWithAuthorization", "ReceiveWithAuthorization"])
def test_authorized_transfer(name: str) -> None:
    """An authorization of EIP-3009 is a transfer with a beginning and an end."""
    message = {
        "from": OWN,
        "to": ATTACKER,
        "value": 9,
        "validAfter": 100,
        "validBefore": 200,
        "nonce": "0x" + "ab" * 32,
    }
    value = document(name + AUTHORIZED, message)
    intent = read(value)
    expected = effect(value, Operation.TRANSFER, asset=TOKEN, destination=ATTACKER, source=OWN, amount=9)
    assert intent.effects == (expected,)
    assert (intent.not_before, intent.expires_at) == (100_000, 200_000)
    assert intent.slot == f"eip3009:1:{TOKEN}:{OWN}:{'ab' * 32}"
    unbounded = read(document(name + AUTHORIZED, {**message, "validAfter": 0, "validBefore": UNLIMITED}))
    assert (unbounded.not_before, unbounded.expires_at) == (None, None)
    assert read(document(name + AUTHORIZED, {**message, "validAfter": UNLIMITED})).not_before == 2**63 - 1


def test_cancelled_authorization() -> None:
    """A cancellation fills the slot of the authorization that it cancels."""
    value = document(
        "CancelAuthorization(address authorizer,bytes32 nonce)", {"authorizer": OWN, "nonce": "0x" + "ab" * 32}
    )
    intent = read(value)
    assert intent.effects == (effect(value, Operation.CANCEL, asset=TOKEN, destination=TOKEN, source=OWN),)
    assert intent.slot == f"eip3009:1:{TOKEN}:{OWN}:{'ab' * 32}"


def details(token: str, amount: int, expiration: int = 1_900_000_000) -> dict[str, Any]:
    """Return PermitDetails."""
    return {"token": token, "amount": amount, "expiration": expiration, "nonce": 4}


@pytest.mark.parametrize(
    ("expiration", "end"), [(1_900_000_000, 1_900_000_000_000), (0, None), (2**48 - 1, 281_474_976_710_655_000)]
)
def test_permit_single(expiration: int, end: int | None) -> None:
    """Permit2's allowance ends at its expiration, the signature at sigDeadline; 0 is the end of the signature."""
    message = {"details": details(USDC, 5, expiration), "spender": SPENDER, "sigDeadline": 1_800_000_000}
    value = document(SINGLE, message, PERMIT2)
    intent = read(value)
    expected = effect(value, Operation.ALLOWANCE, asset=USDC, destination=SPENDER, amount=5, expires_at=end)
    assert intent.effects == (expected,)
    assert intent.expires_at == 1_800_000_000_000
    assert intent.slot == f"permit2:1:0x000000000022d473030f116ddee9f6b43ac78ba3:{USDC}:{SPENDER}:4"


def test_smuggled_second_token() -> None:
    """A20: every element of a batch is an effect of its own, the unlimited one too."""
    message = {"details": [details(USDC, 1), details(WETH, 2**160 - 1)], "spender": ATTACKER, "sigDeadline": 100}
    value = document(BATCH, message, PERMIT2)
    intent = read(value)
    allowed = {"destination": ATTACKER, "expires_at": 1_900_000_000_000}
    assert intent.effects == (
        effect(value, Operation.ALLOWANCE, asset=USDC, amount=1, **allowed),
        effect(value, Operation.ALLOWANCE, asset=WETH, amount=2**160 - 1, **allowed),
    )
    assert (intent.completeness, intent.expires_at, intent.slot) == (Completeness.FULL, 100_000, None)


def test_permits_of_transfers() -> None:
    """The spender of a PermitTransferFrom chooses who gets the tokens: an allowance to it, one for each token."""
    rest = {"spender": SPENDER, "nonce": 11, "deadline": 1_800_000_000}
    one = document(TRANSFER, {"permitted": {"token": USDC, "amount": 5}, **rest}, PERMIT2)
    two = [{"token": USDC, "amount": 5}, {"token": WETH, "amount": UNLIMITED}]
    both = document(TRANSFERS, {"permitted": two, **rest}, PERMIT2)
    for value, pairs in ((one, [(USDC, 5)]), (both, [(USDC, 5), (WETH, UNLIMITED)])):
        intent = read(value)
        assert intent.effects == tuple(
            effect(value, Operation.ALLOWANCE, asset=token, destination=SPENDER, amount=amount)
            for token, amount in pairs
        )
        assert intent.expires_at == 1_800_000_000_000
        assert intent.slot == "permit2:1:0x000000000022d473030f116ddee9f6b43ac78ba3:11"
        assert intent.binds == BOUND


@pytest.mark.parametrize(
    ("type_text", "message"),
    [
        (BATCH, {"details": [], "spender": SPENDER, "sigDeadline": 1}),
        (TRANSFERS, {"permitted": [], "spender": SPENDER, "nonce": 1, "deadline": 1}),
        (
            TRANSFER.replace("uint256 deadline)", "uint256 deadline,Order witness)Order(uint256 x)"),
            {"permitted": {"token": USDC, "amount": 1}, "spender": SPENDER, "nonce": 1, "deadline": 1}
            | {"witness": {"x": 1}},
        ),
    ],
)
def test_permits_of_nothing_or_with_unknown_witnesses(type_text: str, message: dict[str, Any]) -> None:
    """An empty batch, and a witness that is not known, are typed data whose meaning is not known."""
    value = document(type_text, message, PERMIT2)
    contract = "0x000000000022d473030f116ddee9f6b43ac78ba3"
    intent = read(value)
    assert intent.effects == (effect(value, Operation.TYPED_DATA, destination=contract, fee_max=None),)
    assert intent.completeness is Completeness.PARTIAL


def test_permit_of_another_permit2() -> None:
    """A contract that is not the canonical Permit2 is stated as it is, so that policy can refuse it."""
    message = {"details": details(USDC, 5), "spender": SPENDER, "sigDeadline": 1}
    value = document(SINGLE, message, {**PERMIT2, "verifyingContract": ATTACKER})
    assert read(value).effects[0].contract == ATTACKER
