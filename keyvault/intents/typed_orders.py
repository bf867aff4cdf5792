"""Orders that contracts settle: CoW Protocol, and Polymarket's exchanges.

CoW         Order in domain "Gnosis Protocol", version v2 (cowprotocol/contracts, GPv2Order.sol). ``appData`` is the
            hash of a document that may name hooks and fees: it stands in ``via``, and completeness is PARTIAL unless it
            is 0.
            OrderCancellations and OrderCancellation (cowprotocol/contracts, src/ts/sign.ts; cowprotocol/services,
            model/order.rs) are read by the order book only: they take its orders back, and do nothing else. CANCEL.
Polymarket  Order of 12 members, version 1, and of 11, version 2, in domain "Polymarket CTF Exchange"
            (Polymarket/ctf-exchange, OrderStructs.sol; py-clob-client-v2). Version 2 also stands within TypedDataSign
            of Solady (ERC-7739) for contract wallets. Collateral and positions have six decimals; the collateral's
            contract is the exchange's own and not among what is signed: it is called ``collateral``.

Prices are exact or rounded against the signer, by less than 10**-18.
"""

from dataclasses import replace
from typing import Final, cast

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Operation
from keyvault.intents.account import account_of
from keyvault.intents.typed_message import ZERO_ADDRESS, Facts, Family, Meaning, Message, moment
from keyvault.intents.typed_schema import FIELD
from keyvault.intents.typed_sessions import POLYMARKET

_UID_BYTES = 56
_ZERO_HASH = bytes(32)
_SELL_BALANCES = ("erc20", "external", "internal")
_BUY_BALANCES = ("erc20", "internal")
_SIX_DECIMALS = 10**12
"""From 10**-6 to 10**-18."""
_ONE = 10**18
_BASIS_POINTS = 10_000
_SIGNATURE_TYPES_V1 = 2
_SIGNATURE_TYPES_V2 = 3


def _one_of(name: str, text: str, known: tuple[str, ...]) -> None:
    if text not in known:
        raise Malformed(f"{FIELD}.message.{name}", f"must be {' or '.join(known)}")


def _cow_order(message: Message) -> Meaning | None:
    """Read an order of CoW.

    Receiver 0 is the owner: the signer, or a contract that takes this key's signature, whose own assets are sold then.
    """
    if not message.domain.is_of("Gnosis Protocol", "v2"):
        return None
    facts = message.facts
    _one_of("kind", facts.text("kind"), ("sell", "buy"))
    _one_of("sellTokenBalance", facts.text("sellTokenBalance"), _SELL_BALANCES)
    _one_of("buyTokenBalance", facts.text("buyTokenBalance"), _BUY_BALANCES)
    owner, receiver, app_data = account_of(message.signer), facts.address("receiver"), facts.data("appData")
    order = replace(
        message.base,
        operation=Operation.ORDER,
        asset=facts.address("sellToken"),
        amount=facts.integer("sellAmount") + facts.integer("feeAmount"),
        destination=owner if receiver == ZERO_ADDRESS else receiver,
        received_asset=facts.address("buyToken"),
        received_min=facts.integer("buyAmount"),
        time_in_force="partially-fillable" if facts.flag("partiallyFillable") else "fill-or-kill",
        via=None if app_data == _ZERO_HASH else f"app-data 0x{app_data.hex()}",
    )
    return Meaning(
        effects=(order, *_proceeds(order, facts)) if receiver not in (ZERO_ADDRESS, owner) else (order,),
        completeness=Completeness.FULL if app_data == _ZERO_HASH else Completeness.PARTIAL,
        binds=frozenset({Bound.EXPIRY}),
        expires_at=moment(facts.integer("validTo")),
    )


def _cow_cancellation(message: Message) -> Meaning | None:
    uid = message.facts.data("orderUid")
    return _cancelled(message, (uid,))


def _cow_cancellations(message: Message) -> Meaning | None:
    return _cancelled(message, cast("tuple[bytes, ...]", message.facts.members["orderUids"]))


def _cancelled(message: Message, uids: tuple[bytes, ...]) -> Meaning | None:
    """Return one CANCEL of all; None for what is no order's name: digest, owner and end, 56 bytes."""
    named = uids and all(len(uid) == _UID_BYTES for uid in uids)
    if not named or not message.domain.is_of("Gnosis Protocol", "v2"):
        return None
    effect = replace(message.base, operation=Operation.CANCEL)
    return Meaning(effects=(effect,), binds=frozenset({Bound.ACCOUNT}))


def _proceeds(order: Effect, facts: Facts) -> tuple[Effect, ...]:
    """Return what somebody else than the owner gets: of a sell order at least buyAmount, so its amount is not known."""
    return (
        replace(
            order,
            operation=Operation.TRANSFER,
            asset=order.received_asset,
            amount=order.received_min if facts.text("kind") == "buy" else None,
            received_asset=None,
            received_min=None,
            time_in_force=None,
        ),
    )


def _polymarket_v1(message: Message) -> Meaning | None:
    if not message.domain.is_of("Polymarket CTF Exchange", "1"):
        return None
    facts = message.facts
    expiration, taker = facts.integer("expiration"), facts.address("taker")
    # Mixins of the exchange take at most this share of what is received: CalculatorHelper.sol, price <= 1.
    fee = -(-facts.integer("takerAmount") * facts.integer("feeRateBps") // _BASIS_POINTS)
    order = _polymarket_order(message, facts, _SIGNATURE_TYPES_V1)
    return Meaning(
        effects=(
            replace(
                order,
                received_min=max(facts.integer("takerAmount") - fee, 0),
                destination=None if taker == ZERO_ADDRESS else taker,
            ),
        ),
        binds=frozenset({Bound.ACCOUNT, Bound.EXPIRY, Bound.NONCE}),
        expires_at=moment(expiration) if expiration else None,
    )


def _polymarket_v2(message: Message) -> Meaning | None:
    """Read an order of version 2: it has no end, and the operator's fee is not signed, so what is received is not."""
    return _unending(message, message.facts, None) if message.domain.is_of("Polymarket CTF Exchange", "2") else None


def _polymarket_v2_wrapped(message: Message) -> Meaning | None:
    """Read an order that a contract wallet checks; the struct around it has the wallet's domain."""
    if not message.domain.is_of("Polymarket CTF Exchange", "2"):
        return None
    wallet = f"wallet {message.facts.address('verifyingContract')}"
    return _unending(message, message.facts.struct("contents"), wallet)


def _unending(message: Message, facts: Facts, via: str | None) -> Meaning:
    order = _polymarket_order(message, facts, _SIGNATURE_TYPES_V2)
    named = [f"{name} 0x{facts.data(name).hex()}" for name in ("builder", "metadata") if facts.data(name) != _ZERO_HASH]
    effect = replace(order, received_min=None, via=" > ".join(filter(None, (via, *named))) or None)
    return Meaning(effects=(effect,), completeness=Completeness.PARTIAL, binds=frozenset({Bound.ACCOUNT}))


def _polymarket_order(message: Message, facts: Facts, signature_types: int) -> Effect:
    """Return what both versions have. BUY gives collateral for positions, SELL positions for collateral."""
    for name, highest in (("side", 1), ("signatureType", signature_types)):
        if facts.integer(name) > highest:
            raise Malformed(f"{FIELD}.message.{name}", f"must be at most {highest}")
    given, taken, token = facts.integer("makerAmount"), facts.integer("takerAmount"), str(facts.integer("tokenId"))
    buys = facts.integer("side") == 0
    shares, collateral = (taken, given) if buys else (given, taken)
    # A buyer's highest price is rounded up, a seller's lowest down: neither is better than what is signed.
    price = (-(-collateral * _ONE // shares) if buys else collateral * _ONE // shares) if shares else None
    return replace(
        message.base,
        operation=Operation.ORDER,
        venue=POLYMARKET,
        symbol=token,
        side="BUY" if buys else "SELL",
        asset="collateral" if buys else token,
        amount=given,
        source=facts.address("maker"),
        received_asset=token if buys else "collateral",
        quantity=shares * _SIX_DECIMALS,
        quote_quantity=collateral * _SIX_DECIMALS,
        price=price,
    )


_V2_ORDER = (
    "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
    "uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
FAMILIES: Final = (
    Family(
        type_text="Order(address sellToken,address buyToken,address receiver,uint256 sellAmount,uint256 buyAmount,"
        "uint32 validTo,bytes32 appData,uint256 feeAmount,string kind,bool partiallyFillable,string sellTokenBalance,"
        "string buyTokenBalance)",
        read=_cow_order,
    ),
    Family(type_text="OrderCancellation(bytes orderUid)", read=_cow_cancellation),
    Family(type_text="OrderCancellations(bytes[] orderUids)", read=_cow_cancellations),
    Family(
        type_text="Order(uint256 salt,address maker,address signer,address taker,uint256 tokenId,uint256 makerAmount,"
        "uint256 takerAmount,uint256 expiration,uint256 nonce,uint256 feeRateBps,uint8 side,uint8 signatureType)",
        read=_polymarket_v1,
    ),
    Family(type_text=_V2_ORDER, read=_polymarket_v2),
    Family(
        type_text="TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,"
        f"bytes32 salt){_V2_ORDER}",
        read=_polymarket_v2_wrapped,
    ),
)
"""Every kind of order, and what cancels them."""
