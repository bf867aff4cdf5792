"""Hyperliquid's user-signed actions, and its phantom ``Agent``.

Domain HyperliquidSignTransaction, version 1, verifyingContract 0; its chainId is that of the wallet and binds nothing:
``hyperliquidChain`` does (hyperliquid-dex/hyperliquid-python-sdk, utils/signing.py). Type strings are those of that SDK
and of nktkas/hyperliquid. Actions of multi-signature users have two members more, see ``_MULTI_SIG``.

Amounts are decimal texts: they are stated in 10**-18, with ``decimals`` 18. Accounts of the same user are named
``perp``, ``spot``, ``staking`` or by the name of a dex. A nonce is used once per signer, from one day before to
two days after the time that it is (docs "Nonces and API wallets").

``Agent`` binds an action by a hash: as typed data it is OPAQUE, whatever its caller says. It must come as
HYPERLIQUID_ACTION, where the action is read.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Operation
from keyvault.intents import strict_json
from keyvault.intents.address import parse_address
from keyvault.intents.hyperliquid_decimal import PLACES, plain
from keyvault.intents.typed_message import Family, Meaning, Message, end, start
from keyvault.intents.typed_schema import FIELD

VENUE: Final = "hyperliquid"
NETWORKS: Final = {"Mainnet": "hyperliquid:mainnet", "Testnet": "hyperliquid:testnet"}
NONCE_LIFE_MS: Final = 2 * 24 * 3600 * 1000
"""How long after the time that it is a nonce is accepted."""
NONCE_EARLY_MS: Final = 24 * 3600 * 1000
"""How long before that time it is."""

_PREFIX = "HyperliquidTransaction:"
_CHAIN_MEMBER = "string hyperliquidChain,"
_MULTI_SIG = "address payloadMultiSigUser,address outerSigner,"
"""What follows hyperliquidChain where one signer of a multi-signature user signs; the outer signer sends it."""
_HYPE_DECIMALS = 8
_NAME = re.compile(r"[A-Za-z0-9_.:@-]{1,80}", re.ASCII)
_ADDRESS_CHARS = 42
_PERCENT = re.compile(r"(.{1,40})%", re.ASCII)
_SUB_ACCOUNT = " subaccount:"
_BINDS = frozenset({Bound.CHAIN, Bound.ACCOUNT, Bound.NONCE, Bound.EXPIRY})

Effects = tuple[Effect, ...]


def _field(name: str) -> str:
    return f"{FIELD}.message.{name}"


def _account(message: Message, name: str) -> str:
    """Return an address that stands in a string."""
    text = message.facts.text(name)
    try:
        return parse_address(text)
    except Malformed as error:
        raise Malformed(_field(name), error.problem) from None


def _name(message: Message, name: str, empty: str | None = None) -> str:
    """Return a token's or dex's name, ``empty`` for the empty one."""
    text = message.facts.text(name)
    if not text and empty is not None:
        return empty
    if not _NAME.fullmatch(text):
        raise Malformed(_field(name), "may only have A-Z a-z 0-9 _ . : @ -, 1 to 80 of them")
    return text


def _amount(message: Message, base: Effect, asset: str) -> Effect:
    """Return ``base`` as a movement of the message's ``amount``."""
    amount = plain(message.facts.text("amount"), _field("amount"))
    return replace(base, operation=Operation.WITHDRAW, asset=asset, amount=amount, decimals=PLACES)


def _usd_send(message: Message, base: Effect) -> Effects:
    return (replace(_amount(message, base, "USDC"), destination=_account(message, "destination")),)


def _spot_send(message: Message, base: Effect) -> Effects:
    moved = _amount(message, base, _name(message, "token"))
    return (replace(moved, destination=_account(message, "destination")),)


def _usd_class_transfer(message: Message, base: Effect) -> Effects:
    """Read the amount, which names the sub-account in the same text if it is about one."""
    text, separator, owner = message.facts.text("amount").partition(_SUB_ACCOUNT)
    accounts = ("spot", "perp") if message.facts.flag("toPerp") else ("perp", "spot")
    if separator:
        try:
            accounts = (f"{accounts[0]} of {parse_address(owner)}", f"{accounts[1]} of {parse_address(owner)}")
        except Malformed as error:
            raise Malformed(_field("amount"), error.problem) from None
    return (
        replace(
            base,
            operation=Operation.WITHDRAW,
            asset="USDC",
            amount=plain(text, _field("amount")),
            decimals=PLACES,
            source=accounts[0],
            destination=accounts[1],
        ),
    )


def _send_asset(message: Message, base: Effect) -> Effects:
    dexes = f"{_name(message, 'sourceDex', 'perp')} > {_name(message, 'destinationDex', 'perp')}"
    return (
        replace(
            _amount(message, base, _name(message, "token")),
            destination=_account(message, "destination"),
            source=_account(message, "fromSubAccount") if message.facts.text("fromSubAccount") else base.source,
            via=_joined(base.via, dexes),
        ),
    )


def _send_to_evm_with_data(message: Message, base: Effect) -> Effects:
    """Tokens that go to a contract on another chain, which is then called with ``data``."""
    facts = message.facts
    if facts.text("addressEncoding") != "hex":
        return (replace(base, operation=Operation.OPAQUE),)
    sent = replace(
        _amount(message, base, _name(message, "token")),
        chain_id=facts.integer("destinationChainId") or None,
        destination=_account(message, "destinationRecipient"),
        via=_joined(base.via, _name(message, "sourceDex", "perp")),
    )
    if not facts.data("data"):
        return (sent,)
    selector = "0x" + facts.data("data")[:4].hex()
    call = replace(
        sent,
        operation=Operation.CALL,
        contract=sent.destination,
        selector=selector,
        asset=None,
        amount=None,
        decimals=None,
    )
    return sent, call


def _staking(message: Message, base: Effect, source: str | None, destination: str | None) -> Effects:
    return (
        replace(
            base,
            operation=Operation.WITHDRAW,
            asset="HYPE",
            amount=message.facts.integer("wei"),
            decimals=_HYPE_DECIMALS,
            source=source,
            destination=destination,
        ),
    )


def _token_delegate(message: Message, base: Effect) -> Effects:
    validator = message.facts.address("validator")
    ends = (validator, "staking") if message.facts.flag("isUndelegate") else ("staking", validator)
    return _staking(message, base, *ends)


def _staking_deposit(message: Message, base: Effect) -> Effects:
    return _staking(message, base, "spot", "staking")


def _staking_withdrawal(message: Message, base: Effect) -> Effects:
    return _staking(message, base, "staking", "spot")


def _approve_agent(message: Message, base: Effect) -> Effects:
    """A new key for everything but transfers. Its name may hold an end, which is not relied upon."""
    return (replace(base, operation=Operation.KEY_GRANT, destination=message.facts.address("agentAddress")),)


def _approve_builder_fee(message: Message, base: Effect) -> Effects:
    """A builder may add fees to orders, up to a share of each: 1% is 10**16 of 10**18."""
    match = _PERCENT.fullmatch(message.facts.text("maxFeeRate"))
    if match is None:
        raise Malformed(_field("maxFeeRate"), 'must be a percentage such as "0.01%"')
    amount, rest = divmod(plain(match[1], _field("maxFeeRate")), 100)
    if rest:
        raise Malformed(_field("maxFeeRate"), "has more than 16 fractional digits")
    builder = message.facts.address("builder")
    return (
        replace(
            base,
            operation=Operation.ALLOWANCE,
            asset="builder-fee-rate",
            destination=builder,
            amount=amount,
            decimals=PLACES,
        ),
    )


def _convert_to_multi_sig(message: Message, base: Effect) -> Effects:
    """Every signer that is named gets a share of the account; ``null`` gives it back to the one key."""
    signers = strict_json.loads(message.facts.text("signers").encode(), _field("signers"))
    admin = replace(base, operation=Operation.ADMIN)
    if signers is None:
        return (admin,)
    if not isinstance(signers, dict) or set(signers) != {"authorizedUsers", "threshold"}:
        raise Malformed(_field("signers"), "must be null or an object with authorizedUsers and threshold")
    users, threshold = signers["authorizedUsers"], signers["threshold"]
    if not isinstance(users, list) or not users or type(threshold) is not int or not 0 < threshold <= len(users):
        raise Malformed(_field("signers"), "must have a threshold of at least 1 and at most the number of users")
    share = _joined(base.via, f"{threshold} of {len(users)}")
    return (
        replace(admin, via=share),
        *(replace(base, operation=Operation.KEY_GRANT, destination=_signer(user), via=share) for user in users),
    )


def _signer(user: strict_json.Value) -> str:
    if not isinstance(user, str) or len(user) != _ADDRESS_CHARS:
        raise Malformed(_field("signers"), "users must be addresses")
    try:
        return parse_address(user)
    except Malformed as error:
        raise Malformed(_field("signers"), error.problem) from None


def _link_staking_user(message: Message, base: Effect) -> Effects:
    """The staking user can later disable the trading user, whose funds become its own after a year."""
    return (replace(base, operation=Operation.ADMIN, destination=message.facts.address("user")),)


def _disable_trading_user(message: Message, base: Effect) -> Effects:
    return (replace(base, operation=Operation.ADMIN, destination=message.facts.address("tradingUser")),)


def _margin_mode(message: Message, base: Effect) -> Effects:
    return (replace(base, operation=Operation.SETUP, destination=message.facts.address("user")),)


def _opaque(_: Message, base: Effect) -> Effects:
    """SendMultiSig: it binds the action by a hash."""
    return (replace(base, operation=Operation.OPAQUE),)


def _joined(first: str | None, second: str) -> str:
    return f"{first} > {second}" if first else second


_ACTIONS: dict[str, Callable[[Message, Effect], Effects]] = {
    "UsdSend(string hyperliquidChain,string destination,string amount,uint64 time)": _usd_send,
    "Withdraw(string hyperliquidChain,string destination,string amount,uint64 time)": _usd_send,
    "SpotSend(string hyperliquidChain,string destination,string token,string amount,uint64 time)": _spot_send,
    "UsdClassTransfer(string hyperliquidChain,string amount,bool toPerp,uint64 nonce)": _usd_class_transfer,
    "SendAsset(string hyperliquidChain,string destination,string sourceDex,string destinationDex,string token,"
    "string amount,string fromSubAccount,uint64 nonce)": _send_asset,
    "SendToEvmWithData(string hyperliquidChain,string token,string amount,string sourceDex,"
    "string destinationRecipient,string addressEncoding,uint32 destinationChainId,uint64 gasLimit,bytes data,"
    "uint64 nonce)": _send_to_evm_with_data,
    "TokenDelegate(string hyperliquidChain,address validator,uint64 wei,bool isUndelegate,uint64 nonce)": (
        _token_delegate
    ),
    "CDeposit(string hyperliquidChain,uint64 wei,uint64 nonce)": _staking_deposit,
    "CWithdraw(string hyperliquidChain,uint64 wei,uint64 nonce)": _staking_withdrawal,
    "ApproveAgent(string hyperliquidChain,address agentAddress,string agentName,uint64 nonce)": _approve_agent,
    "ApproveBuilderFee(string hyperliquidChain,string maxFeeRate,address builder,uint64 nonce)": _approve_builder_fee,
    "ConvertToMultiSigUser(string hyperliquidChain,string signers,uint64 nonce)": _convert_to_multi_sig,
    "LinkStakingUser(string hyperliquidChain,address user,bool isFinalize,uint64 nonce)": _link_staking_user,
    "StakingLinkDisableTradingUser(string hyperliquidChain,address tradingUser,uint64 nonce)": _disable_trading_user,
    "UserDexAbstraction(string hyperliquidChain,address user,bool enabled,uint64 nonce)": _margin_mode,
    "UserPortfolioMargin(string hyperliquidChain,address user,bool enabled,uint64 nonce)": _margin_mode,
    "UserSetAbstraction(string hyperliquidChain,address user,string abstraction,uint64 nonce)": _margin_mode,
    "SendMultiSig(string hyperliquidChain,bytes32 multiSigActionHash,uint64 nonce)": _opaque,
}


def _reader(action: Callable[[Message, Effect], Effects]) -> Callable[[Message], Meaning | None]:
    def read(message: Message) -> Meaning | None:
        if not message.domain.is_of("HyperliquidSignTransaction", "1"):
            return None
        network = NETWORKS.get(message.facts.text("hyperliquidChain"))
        if network is None:
            raise Malformed(_field("hyperliquidChain"), "must be Mainnet or Testnet")
        nonce = message.facts.integer("time" if "time" in message.facts.members else "nonce")
        shared = "payloadMultiSigUser" in message.facts.members
        user = message.facts.address("payloadMultiSigUser") if shared else None
        base = replace(message.base, chain_id=None, network=network, venue=VENUE, fee_max=None)
        if user is not None:
            base = replace(base, source=user, via=f"multi-sig {user}")
        effects = action(message, base)
        opaque = any(effect.operation is Operation.OPAQUE for effect in effects)
        known = not opaque and all(effect.operation is not Operation.CALL for effect in effects)
        return Meaning(
            effects=effects,
            completeness=(Completeness.OPAQUE if opaque else Completeness.FULL if known else Completeness.PARTIAL),
            binds=_BINDS,
            not_before=start(nonce - NONCE_EARLY_MS),
            expires_at=end(nonce + NONCE_LIFE_MS),
            # A nonce is used up for whoever sends: of several signers the outer one.
            slot=f"{network}:{message.facts.address('outerSigner') if shared else 'self'}:{nonce}",
        )

    return read


def _phantom(message: Message) -> Meaning | None:
    """An action behind a hash: nothing is known of it. Another domain's ``Agent`` is another protocol's."""
    if not message.domain.is_of("Exchange", "1"):
        return None
    effect = replace(message.base, operation=Operation.OPAQUE, chain_id=None, venue=VENUE, fee_max=None)
    return Meaning(effects=(effect,), completeness=Completeness.OPAQUE, binds=frozenset())


FAMILIES: Final = (
    Family(type_text="Agent(string source,bytes32 connectionId)", read=_phantom),
    *(
        Family(type_text=_PREFIX + text, read=_reader(action))
        for plain, action in _ACTIONS.items()
        for text in (plain, plain.replace(_CHAIN_MEMBER, _CHAIN_MEMBER + _MULTI_SIG))
    ),
)
"""Every action, as a user signs it and as a signer of a multi-signature user does."""
