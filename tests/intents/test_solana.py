"""Solana messages as bytes: their one encoding, whose signature they ask for, what is sent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders import system_program
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature as TheirSignature
from solders.transaction import VersionedTransaction

from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Intent, Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import solana, solana_message
from tests.intents.solana_building import (
    BLOCKHASH,
    MEMO,
    PAYER,
    ROUTER,
    SYSTEM,
    THEM,
    TOKEN,
    US,
    associated,
    call,
    create_associated,
    effects,
    expected,
    key,
    legacy,
    opaque,
    parsed,
    payload,
    refusal,
    signer,
    transfer_checked,
    versioned,
)

TABLE = AddressLookupTableAccount(key("table"), [key(f"in table {number}") for number in range(9)])
FIELD = "solana_message"


def transfer(lamports: int = 5, to: Pubkey | None = None, sender: Pubkey = PAYER) -> Instruction:
    names = system_program.TransferParams(from_pubkey=sender, to_pubkey=to or key("friend"), lamports=lamports)
    return system_program.transfer(names)


def compiled(*instructions: Instruction) -> bytes:
    return versioned(MessageV0.try_compile(PAYER, list(instructions), [TABLE], BLOCKHASH))


def wire(
    *,
    header: bytes = b"\1\0\1",
    keys: tuple[bytes, ...] = (bytes(PAYER), bytes(key("friend")), bytes(32)),
    count: bytes = b"\1",
    instructions: bytes = b"\2\2\0\1\x0c" + b"\2\0\0\0" + bytes(8),
    end: bytes = b"",
) -> bytes:
    """Return a legacy message by its parts: a transfer of nothing."""
    return header + bytes([len(keys)]) + b"".join(keys) + bytes(BLOCKHASH) + count + instructions + end


def test_the_whole_intent_of_a_transfer() -> None:
    """A plain transfer is one effect, fully known; the message itself is signed and ends with its blockhash."""
    data = legacy(transfer())
    effect = expected(Operation.TRANSFER, SYSTEM, destination=str(key("friend")), amount=5, fee_max=5_000)
    assert parsed(data) == Intent(
        kind=PayloadKind.SOLANA_MESSAGE,
        algorithms=frozenset({KeyAlgorithm.ED25519}),
        signing_input=data,
        effects=(effect,),
        completeness=Completeness.FULL,
        binds=frozenset({Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE, Bound.EXPIRY}),
        decoder_version=2,
    )
    assert parsed(compiled(transfer())).effects == (effect,)


def test_a_message_written_byte_by_byte_is_read() -> None:
    """Key, roles and data of a message written down byte by byte are those that it says."""
    message = solana_message.decode(wire())
    assert message.keys == (bytes(PAYER), bytes(key("friend")), bytes(32))
    assert message.privileges == bytes([3, 2, 0])
    assert message.instructions == ((2, b"\0\1", b"\2\0\0\0" + bytes(8)),)
    assert (message.blockhash, message.lookups) == (bytes(BLOCKHASH), None)


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        (b"", "", "is empty"),
        (b"\x81" + wire(), "", "version 1"),
        (b"\x82" + wire(), "", "unknown version 2"),
        (b"\xff" + wire(), "", "unknown version 127"),
        (b"\xffsolana offchain\0\0" + bytes(80), "", "off-chain"),
        (wire(end=b"\0"), "", "1 bytes follow"),
        (wire(header=b"\0\0\1"), ".header", "no signature"),
        (wire(header=b"\1\1\1"), ".header", "no signer writable"),
        (wire(header=b"\2\3\1"), ".header", "no signer writable"),
        (wire(header=b"\1\0\3"), ".header", "there are 3"),
        (wire(header=b"\4\0\0"), ".header", "there are 3"),
        (wire(keys=(bytes(PAYER), bytes(PAYER), bytes(32))), ".accounts", "twice"),
        (wire(count=b"\0", instructions=b""), ".instructions", "has none"),
        (wire(count=b"\x41", instructions=b"\2\0\0" * 65), ".instructions", "more than 64"),
        (wire(count=b"\x81\0"), "", "shortest form"),
        (wire(instructions=b"\2\x82\0\0\1\0"), "", "shortest form"),
        (wire(instructions=b"\2\x82\x80\0\0\1\0"), "", "shortest form"),
        (wire(instructions=b"\2\x82\x80\x80\1\0"), "", "shortest form"),
        (wire(instructions=b"\0\0\0"), ".instructions[0]", "fee payer as its program"),
        (wire(instructions=b"\3\0\0"), ".instructions[0]", "program that is not there"),
        (wire(instructions=b"\2\1\3\0"), ".instructions[0]", "account that is not there"),
        (wire(instructions=b"\2\2\0"), "", "cut off"),
        (wire(instructions=b"\2\0\x80\x80\1"), "", "cut off"),
        (wire(instructions=b"\2\0\1"), "", "cut off"),
        (wire(keys=(bytes(key("somebody")), bytes(PAYER), bytes(32))), ".accounts", "of this key"),
        (wire() + bytes(1_100), "", "does not fit"),
    ],
)
def test_what_is_not_one_message_is_refused(data: bytes, field: str, problem: str) -> None:
    """Each flaw is named, with the place where it is."""
    found = refusal(data)
    assert found[0] == FIELD + field
    assert problem in found[1]


@pytest.mark.parametrize("data", [legacy(transfer()), compiled(transfer(to=TABLE.addresses[0]))])
def test_every_beginning_of_a_message_is_refused(data: bytes) -> None:
    """A message that is cut off anywhere is refused as cut off, or because a list is longer than the rest."""
    for end in range(len(data)):
        assert refusal(data[:end])[0] in (FIELD, f"{FIELD}.accounts", f"{FIELD}.lookups", f"{FIELD}.instructions")


def test_keys_and_blockhash_are_whole() -> None:
    """A message that ends inside its keys or blockhash has too few bytes for them; one that ends there is cut off."""
    end = 3 + 1 + 3 * 32 + 32
    assert refusal(wire()[:end]) == (FIELD, "is cut off")
    for cut in (5, end - 32, end - 1):
        assert refusal(wire()[:cut]) == (f"{FIELD}.accounts", "are more than there are bytes")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 255, 256])
def test_lengths_of_one_and_two_bytes_are_read(size: int) -> None:
    """From 128 on a length has two bytes, of accounts and of data alike."""
    accounts, data = b"\1" * size, bytes(range(256))[:size]
    text = b"\2" + solana_message.length(size) + accounts + solana_message.length(size) + data
    message = solana_message.decode(wire(instructions=text))
    assert message.instructions == ((2, accounts, data),)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\1"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\1"),
        (65_535, b"\xff\xff\3"),
    ],
)
def test_lengths_are_written_in_their_shortest_form(value: int, encoded: bytes) -> None:
    """Seven bits go into each byte, the lowest first."""
    assert solana_message.length(value) == encoded


def lookups(*tables: bytes, accounts: bytes = b"\2\0\1") -> bytes:
    """Return a version 0 message with these look-ups."""
    data = b"\x0c" + b"\2\0\0\0" + bytes(8)
    return b"\x80" + wire(instructions=b"\2" + accounts + data, end=bytes([len(tables)]) + b"".join(tables))


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        (lookups(bytes(TABLE.key) + b"\0\0"), ".lookups", "takes nothing"),
        (lookups(bytes(TABLE.key) + b"\1\4\1\4"), ".lookups", "account of a table twice"),
        (lookups(*[bytes(TABLE.key) + b"\1\4\0", bytes(TABLE.key) + b"\1\5\0"]), ".lookups", "one table twice"),
        (lookups(bytes(TABLE.key) + b"\1\4\0", accounts=b"\1\4"), ".instructions[0]", "account that is not there"),
        (lookups(bytes(TABLE.key)[:9]), "", "cut off"),
        (lookups(*[bytes([n]) * 32 + b"\x7e" + bytes(range(126)) + b"\0" for n in (1, 2, 3)]), ".accounts", "256"),
    ],
)
def test_flawed_look_ups_are_refused(data: bytes, field: str, problem: str) -> None:
    """Tables of which nothing, or something twice, or too much is taken are refused."""
    found = refusal(data)
    assert found[0] == FIELD + field
    assert problem in found[1]


def test_an_index_of_one_byte_names_every_account() -> None:
    """With 256 accounts the last one can be named; with one more the message is refused."""
    for taken in (253, 254):
        table = bytes(TABLE.key) + solana_message.length(taken) + bytes(range(taken)) + b"\0"
        data = lookups(table, accounts=b"\2\0\xff")
        if taken == 253:
            assert parsed(data).effects[0].via == f"lookup table {TABLE.key}[252]"
        else:
            assert refusal(data) == (f"{FIELD}.accounts", "are 257 with those of tables, more than 256")


def test_programs_from_tables_are_refused() -> None:
    """Nobody could say what an instruction does whose program lies on the chain."""
    table = bytes(TABLE.key) + b"\1\4\0"
    data = b"\x80" + wire(instructions=b"\3\0\0", end=b"\1" + table)
    assert refusal(data) == (f"{FIELD}.instructions[0]", "has a program from a look-up table: " + MEANING)


MEANING = "these bytes do not say which one it is"


def test_no_owner_is_claimed_after_a_looked_up_account() -> None:
    """An instruction that nobody can read, because of a table, may have given the account away."""
    middle = call(str(ROUTER), b"", (TABLE.addresses[0], "w"))
    instructions = [create_associated(key("w")), middle, transfer_checked(5, associated(key("w")))]
    assert parsed(compiled(*instructions)).effects[2].via is None
    assert parsed(compiled(*instructions[::2])).effects[1].via == f"owner {key('w')}"


def test_every_signature_must_fit_into_the_packet() -> None:
    """A message fits to the byte; one that fits with one signature, but asks for two, could never be sent."""

    def filled(signers: int, size: int) -> bytes:
        filler = size - signers * 64 - 1 - len(wire()) - 1
        instructions = b"\2\2\0\1" + solana_message.length(12 + filler) + b"\2\0\0\0" + bytes(8 + filler)
        return wire(header=bytes((signers, 0, 1)), instructions=instructions)

    for signers in (1, 2):
        assert parsed(filled(signers, 1_232)).completeness is Completeness.OPAQUE
    assert refusal(filled(1, 1_233)) == (FIELD, "does not fit into 1232 bytes with a signature")
    for two in (filled(2, 1_233), b"\2" + filled(1, 1_232)[1:]):
        assert refusal(two) == (f"{FIELD}.header", "with 2 signatures it is longer than the network takes")


def test_accounts_from_tables_are_opaque() -> None:
    """A transfer to an account of a table has no destination, and says where the chain will look."""
    via = f"lookup table {TABLE.key}[4]"
    instruction = transfer(to=TABLE.addresses[4])
    intent = parsed(compiled(instruction))
    assert intent.effects == (opaque(instruction, via=via, fee_max=5_000),)
    assert intent.completeness is Completeness.OPAQUE


def test_known_effects_stand_beside_looked_up_ones() -> None:
    """Only the instructions that touch a table are opaque; each account is named once, by table."""
    swap = call(str(ROUTER), b"route", *((TABLE.addresses[n], "w" if n % 2 else "") for n in (0, 3, 5, 3, 8)))
    intent = parsed(compiled(transfer(), swap))
    assert intent.effects == (
        expected(Operation.TRANSFER, SYSTEM, destination=str(key("friend")), amount=5, fee_max=5_000),
        opaque(swap, via=f"lookup table {TABLE.key}[0,3,5,8]"),
    )
    assert intent.completeness is Completeness.PARTIAL


def test_facts_about_tables_stay_short() -> None:
    """The longest text about look-ups that fits into a transaction fits into the ledger."""
    tables = [bytes([n]) * 32 + b"\1\xff\0" for n in range(1, 11)]
    touching = (b"\2\x0a" + bytes(range(3, 13)) + b"\0") * 48
    data = b"\x80" + wire(count=b"\x30", instructions=touching, end=b"\x0a" + b"".join(tables))
    texts = [one.via for one in parsed(data).effects if one.via]
    assert len(texts) == 48
    assert sum(map(len, texts)) < 32_768


def test_as_many_instructions_as_effects_are_read() -> None:
    """Sixty-four instructions are 64 effects; one more is refused above."""
    assert len(parsed(wire(count=b"\x40", instructions=b"\2\0\0" * 64)).effects) == 64


def test_several_keys_sign() -> None:
    """Signatures of others are no reason to refuse; their coins are named as theirs, and the fee is whose it is."""
    theirs = transfer(sender=THEM.pubkey())
    shared = {"destination": str(key("friend")), "amount": 5}
    assert effects(transfer(), theirs) == (
        expected(Operation.TRANSFER, SYSTEM, fee_max=10_000, **shared),
        expected(Operation.TRANSFER, SYSTEM, source=str(THEM.pubkey()), **shared),
    )
    assert effects(transfer(), theirs, payer=THEM.pubkey()) == (
        expected(Operation.TRANSFER, SYSTEM, **shared),
        expected(Operation.TRANSFER, SYSTEM, source=str(THEM.pubkey()), **shared),
    )


def test_only_required_signers_may_sign() -> None:
    """An account that is named but need not sign is refused: its signature would be worth nothing here."""
    assert refusal(legacy(transfer()), us=key("friend"))[0] == f"{FIELD}.accounts"
    assert refusal(legacy(transfer()), us=Pubkey(bytes(32)))[0] == f"{FIELD}.accounts"


@pytest.mark.parametrize("make", [legacy, compiled])
def test_our_signature_makes_a_transaction(make: object) -> None:
    """As the only signer we get the whole transaction, which solders verifies, and its name."""
    assert callable(make)
    data = make(transfer(to=TABLE.addresses[1]))
    theirs = VersionedTransaction.from_bytes(b"\1" + bytes(64) + data)
    signed = VersionedTransaction(theirs.message, [US])
    value = bytes(signed.signatures[0])
    output = solana.assemble(payload(data), signer(), Signature(value=value))
    assert (output.raw, output.transaction_hash) == (bytes(signed), value)
    assert VersionedTransaction.from_bytes(output.raw).verify_with_results() == [True]


def test_a_transaction_of_several_signers_is_signed_in_part() -> None:
    """Our signature stands in our place, with zeros for others, as solders does; others name the transaction."""
    data = legacy(transfer(), payer=THEM.pubkey())
    value = bytes(US.sign_message(data))
    output = solana.assemble(payload(data), signer(), Signature(value=value))
    assert (output.raw, output.transaction_hash) == (b"\2" + bytes(64) + value + data, b"")
    read = VersionedTransaction.from_bytes(output.raw)
    assert read.signatures == [TheirSignature.default(), TheirSignature(value)]
    assert read.verify_with_results() == [False, True]


@pytest.mark.parametrize("size", [0, 63, 65])
def test_other_signatures_are_broken(size: int) -> None:
    """A signature that is not 64 bytes never becomes a transaction."""
    with pytest.raises(Broken):
        solana.assemble(payload(legacy(transfer())), signer(), Signature(value=bytes(size)))


VALID = (
    legacy(transfer(), set_compute_unit_limit(9)),
    legacy(create_associated(key("w")), transfer_checked(5, key("w")), payer=THEM.pubkey()),
    compiled(transfer(to=TABLE.addresses[4]), call(MEMO, b"hello")),
    legacy(call(TOKEN, b"\6\2\1" + bytes(range(32)), (key("a"), "w"), (PAYER, "s"))),
)


@settings(max_examples=400)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=4)), max_size=5),
)
def test_mutations_are_read_or_refused(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    """Whatever is changed, removed or put in: the message is read as itself, or refused as malformed."""
    for at, removed, inserted in changes:
        data = data[:at] + inserted + data[at + removed :]
    accept(data)


@settings(max_examples=300)
@given(st.binary(max_size=1_300), st.sampled_from((b"", b"\x80\1\0\1\2", b"\1\0\1\2")))
def test_noise_is_read_or_refused(noise: bytes, beginning: bytes) -> None:
    """Any bytes are read as themselves, or refused as malformed; nothing else happens."""
    accept(beginning + noise)


def accept(data: bytes) -> None:
    """Read bytes; a message that is read must be what its encoding says, with an effect for every instruction."""
    for us in (PAYER, Pubkey(data[4:36]) if len(data) > 36 else PAYER):
        try:
            intent = parsed(data, us)
        except Malformed:
            continue
        assert intent.signing_input == data == solana_message.encode(solana_message.decode(data))
        assert intent.effects[0].fee_max is not None
        assert [one.fee_max for one in intent.effects[1:]] == [0] * (len(intent.effects) - 1)
