"""Hyperliquid's user-signed actions: the SDK's vectors, attack A24, and texts that could be read in two ways."""

from typing import Any

import coincurve
import pytest

from keyvault.core.intent import Bound, Completeness, Effect, Operation
from keyvault.intents import ethereum_address
from tests.intents.building import digest_by_eth_account
from tests.intents.typed_building import ATTACKER, OWN, base_of, document, effect, payload_of, read, refused
from tests.intents.typed_random import FAMILIES

ZERO = "0x" + "00" * 20
DOMAIN = {"name": "HyperliquidSignTransaction", "version": "1", "chainId": 421614, "verifyingContract": ZERO}
NONCE = 1_687_816_341_423
DAY = 24 * 3600 * 1000
SDK = "5e9ee1089755c3435139848e47e6635505d5a13a"
"""Destination of the SDK's vectors."""
MULTI_SIG = "address payloadMultiSigUser,address outerSigner,"


def action(name: str, *, multi_sig: bool = False, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return one action on mainnet."""
    type_text = next(
        f.type_text
        for f in FAMILIES
        if f.type_text.startswith(f"HyperliquidTransaction:{name}(") and (MULTI_SIG in f.type_text) == multi_sig
    )
    time = "time" if "uint64 time" in type_text else "nonce"
    message = {"hyperliquidChain": "Mainnet", **members}
    return document(type_text, {time: NONCE, **message}, DOMAIN)


def there(value: dict[str, Any], operation: Operation, **facts: Any) -> Effect:  # noqa: ANN401 - any field
    """Return an effect at Hyperliquid."""
    network = f"hyperliquid:{value['message']['hyperliquidChain'].lower()}"
    place = {"venue": "hyperliquid", "network": network, "chain_id": None, "fee_max": None}
    return effect(value, operation, **{**place, **facts})


@pytest.mark.parametrize(
    ("name", "r", "s", "v"),
    [
        (
            "UsdSend",
            "637b37dd731507cdd24f46532ca8ba6eec616952c56218baeff04144e4a77073",
            "11a6a24900e6e314136d2592e2f8d502cd89b7c15b198e1bee043c9589f9fad7",
            27,
        ),
        (
            "Withdraw",
            "8363524c799e90ce9bc41022f7c39b4e9bdba786e5f9c72b20e43e1462c37cf9",
            "58b1411a775938b83e29182e8ef74975f9054c8e97ebf5ec2dc8d51bfc893881",
            28,
        ),
    ],
)
def test_vectors_of_the_sdk(name: str, r: str, s: str, v: int) -> None:
    """Signatures of hyperliquid-python-sdk, tests/signing_test.py, recover to its key over our digest."""
    value = action(name, destination=f"0x{SDK}", amount="1", hyperliquidChain="Testnet")
    digest = read(value).signing_input
    raw = bytes.fromhex(r + s) + bytes((v - 27,))
    key = coincurve.PublicKey.from_signature_and_message(raw, digest, hasher=None)
    secret = bytes.fromhex("0123456789" * 6 + "0123")
    assert key == coincurve.PrivateKey(secret).public_key


@pytest.mark.parametrize("name", ["UsdSend", "Withdraw"])
def test_sending_usd(name: str) -> None:
    """A24: money that leaves is a withdrawal to its destination, and no order."""
    value = action(name, destination=ATTACKER, amount="1000000.0")
    intent = read(value)
    facts = {"asset": "USDC", "amount": 10**24, "decimals": 18, "destination": ATTACKER}
    assert intent.effects == (there(value, Operation.WITHDRAW, **facts),)
    assert intent.completeness is Completeness.FULL
    assert (intent.not_before, intent.expires_at) == (NONCE - DAY, NONCE + 2 * DAY)
    assert intent.slot == f"hyperliquid:mainnet:self:{NONCE}"
    assert intent.binds == {Bound.CHAIN, Bound.ACCOUNT, Bound.NONCE, Bound.EXPIRY}
    assert intent.issued_at is None


CASES: list[tuple[str, dict[str, Any], tuple[Operation, dict[str, Any]]]] = [
    (
        "SpotSend",
        {"destination": ATTACKER, "token": "PURR:0xc4bf", "amount": "0.5"},
        (Operation.WITHDRAW, {"asset": "PURR:0xc4bf", "amount": 5 * 10**17, "decimals": 18, "destination": ATTACKER}),
    ),
    (
        "SendAsset",
        {
            "destination": ATTACKER,
            "sourceDex": "",
            "destinationDex": "xyz",
            "token": "USDC",
            "amount": "1",
            "fromSubAccount": "",
        },
        (
            Operation.WITHDRAW,
            {"asset": "USDC", "amount": 10**18, "decimals": 18, "destination": ATTACKER, "via": "perp > xyz"},
        ),
    ),
    (
        "SendAsset",
        {
            "destination": ATTACKER,
            "sourceDex": "spot",
            "destinationDex": "spot",
            "token": "USDC",
            "amount": "1",
            "fromSubAccount": OWN,
        },
        (
            Operation.WITHDRAW,
            {
                "asset": "USDC",
                "amount": 10**18,
                "decimals": 18,
                "destination": ATTACKER,
                "source": OWN,
                "via": "spot > spot",
            },
        ),
    ),
    (
        "UsdClassTransfer",
        {"amount": "12.5", "toPerp": True},
        (
            Operation.WITHDRAW,
            {"asset": "USDC", "amount": 125 * 10**17, "decimals": 18, "source": "spot", "destination": "perp"},
        ),
    ),
    (
        "UsdClassTransfer",
        {"amount": f"12.5 subaccount:{OWN}", "toPerp": False},
        (
            Operation.WITHDRAW,
            {
                "asset": "USDC",
                "amount": 125 * 10**17,
                "decimals": 18,
                "source": f"perp of {OWN}",
                "destination": f"spot of {OWN}",
            },
        ),
    ),
    (
        "TokenDelegate",
        {"validator": ATTACKER, "wei": 5, "isUndelegate": False},
        (
            Operation.WITHDRAW,
            {"asset": "HYPE", "amount": 5, "decimals": 8, "source": "staking", "destination": ATTACKER},
        ),
    ),
    (
        "TokenDelegate",
        {"validator": ATTACKER, "wei": 5, "isUndelegate": True},
        (
            Operation.WITHDRAW,
            {"asset": "HYPE", "amount": 5, "decimals": 8, "source": ATTACKER, "destination": "staking"},
        ),
    ),
    (
        "CDeposit",
        {"wei": 5},
        (Operation.WITHDRAW, {"asset": "HYPE", "amount": 5, "decimals": 8, "source": "spot", "destination": "staking"}),
    ),
    (
        "CWithdraw",
        {"wei": 5},
        (Operation.WITHDRAW, {"asset": "HYPE", "amount": 5, "decimals": 8, "source": "staking", "destination": "spot"}),
    ),
    (
        "ApproveAgent",
        {"agentAddress": ATTACKER, "agentName": "mallory valid_until 1"},
        (Operation.KEY_GRANT, {"destination": ATTACKER}),
    ),
    (
        "ApproveBuilderFee",
        {"maxFeeRate": "10%", "builder": ATTACKER},
        (
            Operation.ALLOWANCE,
            {"asset": "builder-fee-rate", "amount": 10**17, "decimals": 18, "destination": ATTACKER},
        ),
    ),
    ("LinkStakingUser", {"user": ATTACKER, "isFinalize": True}, (Operation.ADMIN, {"destination": ATTACKER})),
    ("StakingLinkDisableTradingUser", {"tradingUser": OWN}, (Operation.ADMIN, {"destination": OWN})),
    ("UserDexAbstraction", {"user": OWN, "enabled": True}, (Operation.SETUP, {"destination": OWN})),
    ("UserPortfolioMargin", {"user": OWN, "enabled": True}, (Operation.SETUP, {"destination": OWN})),
    ("UserSetAbstraction", {"user": OWN, "abstraction": "unifiedAccount"}, (Operation.SETUP, {"destination": OWN})),
]


@pytest.mark.parametrize(("name", "members", "expected"), CASES)
def test_every_action(name: str, members: dict[str, Any], expected: tuple[Operation, dict[str, Any]]) -> None:
    """A24: grants of keys, fees and power, and all that moves assets, are what they are, fully known."""
    value = action(name, **members)
    intent = read(value)
    assert intent.effects == (there(value, expected[0], **expected[1]),)
    assert intent.completeness is Completeness.FULL
    assert intent.signing_input == digest_by_eth_account(value)


def test_a_multi_signature_user() -> None:
    """A24: every signer that gets a share is a grant of a key, and the change itself is ADMIN."""
    value = action("ConvertToMultiSigUser", signers=f'{{"authorizedUsers": ["{ATTACKER}", "{OWN}"], "threshold": 1}}')
    assert read(value).effects == (
        there(value, Operation.ADMIN, via="1 of 2"),
        there(value, Operation.KEY_GRANT, destination=ATTACKER, via="1 of 2"),
        there(value, Operation.KEY_GRANT, destination=OWN, via="1 of 2"),
    )
    back = action("ConvertToMultiSigUser", signers="null")
    assert read(back).effects == (there(back, Operation.ADMIN),)


def test_sending_to_a_contract_with_data() -> None:
    """Tokens that go to a contract with data are a transfer and a call; without data only a transfer."""
    members: dict[str, Any] = {
        "token": "USDC",
        "amount": "1",
        "sourceDex": "spot",
        "destinationRecipient": ATTACKER,
        "addressEncoding": "hex",
        "destinationChainId": 42161,
        "gasLimit": 1,
        "data": "0xa9059cbb00",
    }
    value = action("SendToEvmWithData", **members)
    rest = {"chain_id": 42161, "destination": ATTACKER, "via": "spot"}
    sent = there(value, Operation.WITHDRAW, asset="USDC", amount=10**18, decimals=18, **rest)
    intent = read(value)
    call = there(value, Operation.CALL, **rest, contract=ATTACKER, selector="0xa9059cbb")
    assert (intent.effects, intent.completeness) == ((sent, call), Completeness.PARTIAL)
    plain = read(action("SendToEvmWithData", **{**members, "data": "0x"}))
    assert (plain.effects, plain.completeness) == ((sent,), Completeness.FULL)
    elsewhere = action("SendToEvmWithData", **{**members, "addressEncoding": "base58"})
    assert read(elsewhere).effects == (there(elsewhere, Operation.OPAQUE),)


def test_one_signer_of_several() -> None:
    """What a signer of a multi-signature user signs is the user's; its nonce is used up for the outer signer."""
    value = action(
        "UsdSend", multi_sig=True, payloadMultiSigUser=OWN, outerSigner=ATTACKER, destination=ATTACKER, amount="1"
    )
    facts = {"asset": "USDC", "amount": 10**18, "decimals": 18, "destination": ATTACKER}
    intent = read(value)
    assert intent.effects == (there(value, Operation.WITHDRAW, **facts, source=OWN, via=f"multi-sig {OWN}"),)
    assert intent.slot == f"hyperliquid:mainnet:{ATTACKER}:{NONCE}"


def test_actions_behind_a_hash_are_opaque() -> None:
    """SendMultiSig, and the phantom Agent given as typed data, bind an action that nobody can read here."""
    envelope = action("SendMultiSig", multiSigActionHash="0x" + "ab" * 32)
    intent = read(envelope)
    assert (intent.effects, intent.completeness) == ((there(envelope, Operation.OPAQUE),), Completeness.OPAQUE)
    domain = {"name": "Exchange", "version": "1", "chainId": 1337, "verifyingContract": ZERO}
    text = "Agent(string source,bytes32 connectionId)"
    phantom = document(text, {"source": "a", "connectionId": "0x" + "ab" * 32}, domain)
    intent = read(phantom)
    expected = effect(phantom, Operation.OPAQUE, venue="hyperliquid", chain_id=None, fee_max=None)
    assert (intent.effects, intent.completeness) == ((expected,), Completeness.OPAQUE)
    other = document(text, {"source": "a", "connectionId": "0x" + "ab" * 32})
    assert read(other).effects[0].operation is Operation.TYPED_DATA


@pytest.mark.parametrize("change", [{"name": "Hyperliquid"}, {"version": "2"}])
def test_actions_in_other_domains(change: dict[str, str]) -> None:
    """An action in a domain that is not Hyperliquid's is not understood."""
    value = action("UsdSend", destination=ATTACKER, amount="1")
    value["domain"] = {**DOMAIN, **change}
    contract = base_of(value)["contract"]
    assert read(value).effects == (effect(value, Operation.TYPED_DATA, destination=contract, fee_max=None),)


SIGNERS = '{"authorizedUsers": ["%s"], "threshold": %s}'


@pytest.mark.parametrize(
    ("name", "members", "field"),
    [
        ("UsdSend", {"hyperliquidChain": "mainnet"}, "hyperliquidChain"),
        ("UsdSend", {"hyperliquidChain": ""}, "hyperliquidChain"),
        *[
            ("UsdSend", {"amount": text}, "amount")
            for text in ("", "-1", "+1", "1e3", "01", "1.", ".5", "1,5", " 1", "1 ", "\u0661", "0x1", "1" * 41)
        ],
        ("UsdSend", {"amount": "0." + "1" * 19}, "amount"),
        ("UsdSend", {"destination": "0x1234"}, "destination"),
        ("UsdSend", {"destination": ATTACKER[2:]}, "destination"),
        ("UsdSend", {"destination": ATTACKER + " "}, "destination"),
        ("UsdSend", {"destination": "0xABaBaBaBABabABabAbAbABAbABabababaBaBABab"}, "destination"),
        ("SpotSend", {"token": ""}, "token"),
        ("SpotSend", {"token": "USDC\u202e"}, "token"),
        ("SpotSend", {"token": "a" * 81}, "token"),
        ("SendAsset", {"sourceDex": "a b"}, "sourceDex"),
        ("SendAsset", {"fromSubAccount": "me"}, "fromSubAccount"),
        ("UsdClassTransfer", {"amount": "1 subaccount:me"}, "amount"),
        ("UsdClassTransfer", {"amount": f"1  subaccount:{OWN}"}, "amount"),
        ("ApproveBuilderFee", {"maxFeeRate": "0.1"}, "maxFeeRate"),
        ("ApproveBuilderFee", {"maxFeeRate": "1%%"}, "maxFeeRate"),
        ("ApproveBuilderFee", {"maxFeeRate": "0." + "0" * 16 + "1%"}, "maxFeeRate"),
        *[
            ("ConvertToMultiSigUser", {"signers": text}, "signers")
            for text in (
                "",
                "[]",
                "{}",
                SIGNERS % (OWN, "0"),
                SIGNERS % (OWN, "2"),
                SIGNERS % (OWN, "true"),
                SIGNERS % (OWN, "1, 1"),
                SIGNERS % (OWN[:-1], "1"),
                SIGNERS % ("x" * 42, "1"),
                SIGNERS.replace('["%s"]', "[]%s") % ("", "1"),
                SIGNERS % (OWN, '1, "more": 1'),
                SIGNERS % (OWN, '1, "threshold": 1'),
            )
        ],
    ],
)
def test_texts_with_two_readings(name: str, members: dict[str, Any], field: str) -> None:
    """Amounts, addresses, names and lists inside strings have one spelling, or are refused at their place."""
    defaults: dict[str, dict[str, Any]] = {
        "UsdSend": {"destination": ATTACKER, "amount": "1"},
        "SpotSend": {"destination": ATTACKER, "token": "USDC", "amount": "1"},
        "SendAsset": {
            "destination": ATTACKER,
            "sourceDex": "",
            "destinationDex": "",
            "token": "USDC",
            "amount": "1",
            "fromSubAccount": "",
        },
        "UsdClassTransfer": {"amount": "1", "toPerp": True},
        "ApproveBuilderFee": {"maxFeeRate": "1%", "builder": OWN},
        "ConvertToMultiSigUser": {},
    }
    assert refused(payload_of(action(name, **{**defaults[name], **members})))[0] == f"message.{field}"


@pytest.mark.parametrize(("nonce", "begins", "ends"), [(0, None, 2 * DAY), (2**64 - 1, 2**63 - 1, None)])
def test_nonces_at_the_ends(nonce: int, begins: int | None, ends: int | None) -> None:
    """Times beyond what the ledger holds are none, or the last one."""
    intent = read(action("UsdSend", destination=ATTACKER, amount="1", time=nonce))
    assert (intent.not_before, intent.expires_at) == (begins, ends)


def test_the_sdk_vectors_are_those_of_its_key() -> None:
    """The key of the SDK's vectors is the published one, nobody's."""
    secret = bytes.fromhex("0123456789" * 6 + "0123")
    public = coincurve.PrivateKey(secret).public_key.format(compressed=False)
    assert ethereum_address(public) == "0x14791697260E4c9A71f18484C9f997B308e59325"
