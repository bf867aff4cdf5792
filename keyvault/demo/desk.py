"""A morning at the desk: keys and policy by two members, signatures by a bot, a refusal, a retry."""

import asyncio
import secrets
import time
from dataclasses import dataclass

from keyvault.cli.policy_file import parse_policy
from keyvault.client import AsyncClient, Denied, Key, RequestIdReused, SignedTransaction, uuid7
from keyvault.core.approvals import Voice
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.proposals import Outcome
from keyvault.demo import inputs, outside
from keyvault.demo.record import Record
from keyvault.demo.rulers import member
from keyvault.demo.scratch import Deployment, command

_WEEK_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the desk knows of its keys: the bot pins the public ones, the exchange knows the secret, too."""

    chain: Key
    ed25519: Key
    hmac_secret: bytes

    @property
    def address(self) -> str:
        """The chain key's address, lower case, made from the public key by code outside the product."""
        return outside.address(self.chain.public_key)


async def make_keys(made: Deployment, record: Record) -> Keys:
    """Make two keys in the token and import an exchange's secret: alice asks, bob approves with a key of his own."""
    alice, bob = member(made, "alice"), member(made, "bob")
    secret = secrets.token_urlsafe(48).encode()
    async with made.client("admin-alice") as admin:
        asked = await admin.create_key(inputs.KEY_CHAIN, KeyAlgorithm.SECP256K1, signer=alice)
        record.say("proposal", f"{asked.id[:12]}: {asked.said.summary()}")
        waits = asked.outcome is Outcome.OPEN and await admin.list_keys() == ()
        record.check("alone alice gets no key: somebody else must approve", held=waits)
        await admin.cast(asked, Voice.APPROVE, bob)
        await admin.create_key(inputs.KEY_ED25519, KeyAlgorithm.ED25519, signer=alice, approvers=[bob])
        await admin.import_hmac_key(inputs.KEY_HMAC, secret, signer=alice, approvers=[bob])
        chain, venue = await admin.get_key(inputs.KEY_CHAIN), await admin.get_key(inputs.KEY_ED25519)
        names = [key.key for key in await admin.list_keys()]
    keys = Keys(chain=chain, ed25519=venue, hmac_secret=secret)
    record.say(inputs.KEY_CHAIN, f"secp256k1, {chain.ethereum_address}")
    record.say(inputs.KEY_ED25519, f"Ed25519, {venue.public_key.hex()}")
    record.say(inputs.KEY_HMAC, "HMAC-SHA256, imported: wrapped here, opened by the token alone")
    wanted = sorted((inputs.KEY_CHAIN, inputs.KEY_ED25519, inputs.KEY_HMAC))
    record.check("three keys are in the token, each with two members' signatures", held=names == wanted)
    record.check("the address is the one of the public key", held=chain.ethereum_address.lower() == keys.address)
    return keys


async def publish_policy(made: Deployment, record: Record) -> None:
    """Check the policy in its file, propose it, approve it, and wait until its delay is over."""
    file = made.folder / "policy.yaml"
    file.write_text(inputs.POLICY)
    await asyncio.to_thread(command, "keyvault", "policy", "check", str(file))
    alice, bob = member(made, "alice"), member(made, "bob")
    async with made.client("admin-alice") as admin:
        policy = parse_policy(inputs.POLICY, name=str(file))
        asked = await admin.publish_policy(policy, signer=alice, approvers=[bob])
        record.check("it allows more than before: approved, it still waits", held=asked.outcome is Outcome.OPEN)
        done = await admin.settled(asked)
        version = (await admin.get_policy()).policy.version
    record.check("policy version 2 is in force", held=(done.outcome, version) == (Outcome.EXECUTED, 2))


async def sign(bot: AsyncClient, keys: Keys, record: Record) -> SignedTransaction:
    """Have one payload of each kind signed, and look at each signature as its chain or venue would."""
    transfer = await bot.sign_evm_transaction(inputs.KEY_CHAIN, inputs.FIRST.unsigned)
    record.say("EIP-1559", f"1.5 ether to {inputs.COLD_WALLET}")
    record.say("", f"transaction 0x{transfer.transaction_hash.hex()}")
    held = outside.sender(transfer.raw_transaction, inputs.FIRST.fields) == keys.address
    record.check("the raw transaction is what was asked for, and its sender recovers to the key", held=held)
    await _sign_order(bot, keys, record)
    await _sign_for_binance(bot, keys, record)
    return transfer


async def _sign_order(bot: AsyncClient, keys: Keys, record: Record) -> None:
    order = inputs.Order(receiver=keys.address, valid_to=int(time.time()) + _WEEK_S)
    signed = await bot.sign_typed_data(inputs.KEY_CHAIN, order.typed_data)
    digest = outside.cow_digest(inputs.ORDER_FIELDS, order.message)
    r, s = int.from_bytes(signed.rsv[:32], "big"), int.from_bytes(signed.rsv[32:64], "big")
    signer = outside.recover(digest, r, s, signed.rsv[64] - 27)
    record.say("EIP-712", f"CoW order: sell 3 WETH for 9,000 USDC, settlement {inputs.SETTLEMENT}")
    record.check("the mainnet contract's own hash of the order recovers to the key", held=signer == keys.address)


async def _sign_for_binance(bot: AsyncClient, keys: Keys, record: Record) -> None:
    by_hmac = await bot.sign_binance(inputs.KEY_HMAC, query=inputs.binance_order("demo-hmac"))
    by_ed25519 = await bot.sign_binance(inputs.KEY_ED25519, query=inputs.binance_order("demo-ed25519"))
    record.say("Binance REST", "POST /api/v3/order: buy 0.25 ETHUSDT at 2950.10, twice")
    held = outside.hmac_accepts(keys.hmac_secret, by_hmac.query)
    record.check("the exchange's HMAC over the query is the one in it", held=held)
    held = outside.ed25519_accepts(keys.ed25519.public_key, by_ed25519.query)
    record.check("the Ed25519 signature over the query verifies under the public key", held=held)


async def refuse(bot: AsyncClient, record: Record) -> str:
    """Ask for a transfer to a stranger, twice; return the request id."""
    request_id = str(uuid7())
    first = await _denied(bot, request_id)
    again = await _denied(bot, request_id)
    record.say("asked", f"1.5 ether to {inputs.STRANGER}, which no rule names")
    if first is None or again is None:
        record.fail("a transfer to a stranger was signed")
        return request_id
    record.say("answered", f"{first.code.name} {first.reason}: {first.message}")
    record.check("policy refuses a destination that it does not name", held=first.reason == "NO_RULE_ALLOWS")
    same = (first.reason, first.message, first.rules) == (again.reason, again.message, again.rules)
    record.check("the same request id gets the same refusal", held=same)
    return request_id


async def _denied(bot: AsyncClient, request_id: str) -> Denied | None:
    try:
        await bot.sign_evm_transaction(inputs.KEY_CHAIN, inputs.ASTRAY.unsigned, request_id=request_id)
    except Denied as error:
        return error
    return None


async def retry(bot: AsyncClient, transfer: SignedTransaction, record: Record) -> None:
    """Ask again with the same request id: once for the same bytes, once for others."""
    again = await bot.sign_evm_transaction(inputs.KEY_CHAIN, inputs.FIRST.unsigned, request_id=transfer.request_id)
    record.say("request id", transfer.request_id)
    same = (again.raw_transaction, again.ledger_index) == (transfer.raw_transaction, transfer.ledger_index)
    record.check(f"the same bytes again: the identical signature, still entry {transfer.ledger_index}", held=same)
    try:
        await bot.sign_evm_transaction(inputs.KEY_CHAIN, inputs.OTHER.unsigned, request_id=transfer.request_id)
    except RequestIdReused as error:
        record.check(f"one wei more under that id: {error.code.name}", held=True)
    else:
        record.fail("other bytes were signed under a request id that was used")
