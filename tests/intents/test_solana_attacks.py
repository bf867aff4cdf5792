"""Attacks on Solana keys that were seen in the wild, as bytes, with the facts that make a policy refuse them."""

from solders import system_program as system
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from keyvault.core.intent import AUTHORITY, Authority, Bound, Completeness, Operation
from tests.intents.solana_building import (
    BLOCKHASH,
    PAYER,
    SYSTEM,
    TOKEN,
    USDC,
    call,
    create_associated,
    effects,
    expected,
    key,
    legacy,
    opaque,
    parsed,
    token,
    transfer_checked,
    versioned,
)

SQUADS = "SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf"
THIEF = key("thief")
FRIEND = key("friend")
OURS = (key("our tokens"), "w")
ADVANCE = system.advance_nonce_account(
    system.AdvanceNonceAccountParams(nonce_pubkey=key("nonce"), authorized_pubkey=PAYER)
)


def pay(lamports: int = 1) -> Instruction:
    return system.transfer(system.TransferParams(from_pubkey=PAYER, to_pubkey=FRIEND, lamports=lamports))


def test_a12_an_approval_that_never_ends() -> None:
    """Drift 2026: an approval for a multisignature program, kept for weeks by a durable nonce: opaque, and endless."""
    approve = call(SQUADS, bytes.fromhex("9025a488bcd82af8") + b"\0", (key("squad"), ""), (PAYER, "sw"))
    intent = parsed(legacy(ADVANCE, approve))
    assert intent.effects == (
        expected(Operation.SETUP, SYSTEM, destination=str(key("nonce")), via="durable nonce", fee_max=5_000),
        expected(Operation.OPAQUE, SQUADS, selector="0x9025a488bcd82af8"),
    )
    assert intent.completeness is Completeness.PARTIAL
    assert (intent.binds, intent.expires_at) == (frozenset({Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE}), None)


def test_a12_no_form_of_the_nonce_hides_it() -> None:
    """What the chain takes for a durable nonce never looks as if it ended, though we do not decode its form."""
    accounts = [(meta.pubkey, "s" * meta.is_signer + "w" * meta.is_writable) for meta in ADVANCE.accounts]
    strange = [
        call(SYSTEM, b"\4\0\0\0\0", *accounts),
        call(SYSTEM, b"\4\0\0\0", *accounts, (FRIEND, "")),
        call(SYSTEM, b"\4\0\0\0", accounts[0], (FRIEND, ""), accounts[2]),
    ]
    for advance in (ADVANCE, *strange):
        data = legacy(advance, pay())
        assert VersionedTransaction.from_bytes(b"\1" + bytes(64) + data).uses_durable_nonce()
        assert Bound.EXPIRY not in parsed(data).binds
    assert [effects(advance, pay())[0] for advance in strange] == [opaque(one, fee_max=5_000) for one in strange]


def test_a12_one_nonce_is_no_slot() -> None:
    """A recent blockhash in a message that advances a nonce lets two of them take effect: none replaces the other."""
    assert parsed(legacy(ADVANCE, pay())).slot is None
    assert parsed(legacy(pay())).slot is None


def test_a13_the_account_is_given_away() -> None:
    """Drainers hide an Assign among harmless instructions; no balance changes, but a program rules the account."""
    assign = system.assign(system.AssignParams(pubkey=PAYER, owner=THIEF))
    found = effects(set_compute_unit_limit(9_000), create_associated(PAYER), assign, pay(0))
    assert [one.operation for one in found] == [Operation.SETUP, Operation.KEY_GRANT, Operation.TRANSFER]
    assert found[1] == expected(Operation.KEY_GRANT, SYSTEM, destination=str(THIEF))
    assert AUTHORITY[found[1].operation] is Authority.KEY_GRANT


def test_a14_token_accounts_are_taken_over() -> None:
    """Owner, delegate and close: each names who gains power over the tokens, and how much."""
    unlimited = (2**64 - 1).to_bytes(8, "little")
    intent = parsed(
        legacy(
            token(6, b"\2\1" + bytes(THIEF), OURS),
            token(4, unlimited, OURS, (THIEF, "")),
            token(13, unlimited + b"\6", OURS, (USDC, ""), (THIEF, "")),
            token(9, b"", OURS, (THIEF, "w")),
        )
    )
    source = str(OURS[0])
    thief = {"destination": str(THIEF), "source": source}
    assert intent.effects == (
        expected(Operation.KEY_GRANT, TOKEN, fee_max=5_000, **thief),
        expected(Operation.OPAQUE, TOKEN, selector="0x04ffffffffffffff"),
        expected(Operation.ALLOWANCE, TOKEN, asset=str(USDC), amount=2**64 - 1, decimals=6, **thief),
        expected(Operation.TRANSFER, TOKEN, **thief),
    )
    assert intent.completeness is Completeness.PARTIAL


def test_a16_no_transfer_is_not_all_transfers() -> None:
    """A program that moves our coins by itself has no transfer that a rule could like: it is one opaque effect."""
    drain = call(str(key("program")), b"sweeping", (PAYER, "sw"), (THIEF, "w"))
    for instructions in ([drain], [set_compute_unit_price(1), drain], [drain, set_compute_unit_limit(1)]):
        intent = parsed(legacy(*instructions))
        assert [(one.operation, one.contract, one.destination) for one in intent.effects] == [
            (Operation.OPAQUE, str(key("program")), None)
        ]
        assert intent.completeness is Completeness.OPAQUE


def test_a16_nothing_stays_unseen_among_known_effects() -> None:
    """Each instruction that is not read is an effect of its own, wherever it stands, so that all must be allowed."""
    drain = call(str(key("program")), b"", (PAYER, "sw"))
    for place in range(4):
        instructions = [pay(), pay(), pay()]
        instructions.insert(place, drain)
        intent = parsed(legacy(*instructions))
        operations = [one.operation for one in intent.effects]
        assert operations.index(Operation.OPAQUE) == place
        assert operations.count(Operation.TRANSFER) == 3
        assert intent.completeness is Completeness.PARTIAL


def test_another_program_is_not_the_token_program() -> None:
    """A program that copies the form of a transfer is not believed to be one."""
    fake = transfer_checked(5, FRIEND, program=str(key("fake")))
    assert effects(fake) == (opaque(fake, fee_max=5_000),)


def test_a_receiver_from_a_table_is_no_receiver() -> None:
    """Tables can be extended and closed after the signature: what lies in them is never a destination."""
    from_table = Pubkey.from_string("So11111111111111111111111111111111111111112")
    message = MessageV0.try_compile(PAYER, [transfer_checked(5, from_table)], [table(from_table)], BLOCKHASH)
    (effect,) = parsed(versioned(message)).effects
    assert (effect.operation, effect.destination) == (Operation.OPAQUE, None)
    assert effect.via == f"lookup table {key('table')}[1]"


def table(address: Pubkey) -> AddressLookupTableAccount:
    return AddressLookupTableAccount(key("table"), [key("filler"), address])
