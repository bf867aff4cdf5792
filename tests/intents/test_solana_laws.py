"""Solana messages against solders as oracle: generated messages, and mutations of them."""

import random
from collections.abc import Sequence
from dataclasses import replace

from solders import compute_budget
from solders import system_program as system
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature as TheirSignature
from solders.transaction import VersionedTransaction

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Effect, Operation
from keyvault.core.keys import Signature
from keyvault.intents import solana, solana_message
from tests.intents.solana_building import (
    ASSOCIATED,
    PAYER,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    associated,
    call,
    create_associated,
    expected,
    key,
    opaque,
    parsed,
    payload,
    signer,
    token,
    transfer_checked,
)
from tests.intents.solana_samples import SAMPLES

MESSAGES = 10_000
PEOPLE = [key(f"person {number}") for number in range(24)]
MINTS = [key(f"mint {number}") for number in range(4)]
TABLE = AddressLookupTableAccount(key("table"), [*PEOPLE[:6], MINTS[0], key("program 0")])
FIXED = [sample for name, sample in SAMPLES.items() if name != "advance nonce"]
Pair = tuple[Instruction, Effect]


def transfer(source: random.Random) -> Pair:
    to, amount = source.choice(PEOPLE), source.getrandbits(source.randrange(1, 65))
    names = system.TransferParams(from_pubkey=PAYER, to_pubkey=to, lamports=amount)
    return system.transfer(names), expected(Operation.TRANSFER, SYSTEM, destination=str(to), amount=amount)


def token_transfer(source: random.Random) -> Pair:
    program, mint, to, ours = source.choice((TOKEN, TOKEN_2022)), *source.sample(MINTS, 1), *source.sample(PEOPLE, 2)
    amount, decimals = source.getrandbits(64), source.randrange(256)
    instruction = transfer_checked(amount, to, source=ours, mint=mint, program=program, decimals=decimals)
    fields = {"destination": str(to), "source": str(ours), "asset": str(mint), "amount": amount, "decimals": decimals}
    return instruction, expected(Operation.TRANSFER, program, **fields)


def approval(source: random.Random) -> Pair:
    mint, (to, ours), amount = source.choice(MINTS), source.sample(PEOPLE, 2), source.getrandbits(64)
    instruction = token(13, amount.to_bytes(8, "little") + b"\6", (ours, "w"), (mint, ""), (to, ""))
    fields = {"destination": str(to), "source": str(ours), "asset": str(mint), "amount": amount, "decimals": 6}
    return instruction, expected(Operation.ALLOWANCE, TOKEN, **fields)


def creation(source: random.Random) -> Pair:
    wallet, mint = source.choice(PEOPLE), source.choice(MINTS)
    right = source.random() < 0.7
    account = associated(wallet, mint) if right else source.choice(PEOPLE)
    instruction = create_associated(wallet, mint, account=account)
    effect = expected(Operation.SETUP, ASSOCIATED, destination=str(wallet), asset=str(mint), fee_max=2_039_280)
    return instruction, effect if right else opaque(instruction)


def unknown(source: random.Random) -> Pair:
    roles = ("", "", "w", "sw")
    accounts = [(PAYER, "sw") if role == "sw" else (source.choice(PEOPLE), role) for role in source.choices(roles, k=4)]
    data = source.randbytes(source.choice((0, 1, 7, 8, 30, 130)))
    instruction = call(str(key(f"program {source.randrange(3)}")), data, *accounts)
    return instruction, opaque(instruction)


def advance(source: random.Random) -> Pair:
    names = system.AdvanceNonceAccountParams(nonce_pubkey=source.choice(PEOPLE), authorized_pubkey=PAYER)
    instruction = system.advance_nonce_account(names)
    destination = str(names["nonce_pubkey"])
    return instruction, expected(Operation.SETUP, SYSTEM, destination=destination, via="durable nonce")


def pairs(source: random.Random) -> list[Pair]:
    """Return up to six instructions and the effects that they must have."""
    kinds = (transfer, token_transfer, approval, creation, unknown, lambda chooser: chooser.choice(FIXED))
    found = [source.choice(kinds)(source) for _ in range(source.randrange(1, 6))]
    return [advance(source), *found] if source.random() < 0.2 else found


def budget(source: random.Random, count: int) -> tuple[list[Instruction], int]:
    """Return instructions of the compute budget, and the priority fee of a message with ``count`` others."""
    limit = source.choice((None, 0, 1, 77_777, 2_000_000))
    price = source.choice((None, 0, 1, 999_999, 2**64 - 1))
    found = [] if limit is None else [compute_budget.set_compute_unit_limit(limit)]
    found += [] if price is None else [compute_budget.set_compute_unit_price(price)]
    units = min(1_400_000, 200_000 * count + 3_000 * len(found) if limit is None else limit)
    return found, (units * (price or 0) + 999_999) // 1_000_000


def compiled(source: random.Random, instructions: Sequence[Instruction], payer: Pubkey) -> Message | MessageV0:
    blockhash = Hash(source.randbytes(32))
    if source.random() < 0.5:
        return Message.new_with_blockhash(list(instructions), payer, blockhash)
    tables = [TABLE] if source.random() < 0.6 else []
    return MessageV0.try_compile(payer, list(instructions), tables, blockhash)


def encoded(message: Message | MessageV0) -> bytes:
    return bytes(message) if isinstance(message, Message) else b"\x80" + bytes(message)


def looked_up(message: Message | MessageV0, indices: bytes) -> str | None:
    """Return what ``via`` must say of an instruction's accounts, None if all are known."""
    if isinstance(message, Message):
        return None
    known = len(message.account_keys)
    loaded = [i for one in message.address_table_lookups for i in bytes(one.writable_indexes)]
    loaded += [i for one in message.address_table_lookups for i in bytes(one.readonly_indexes)]
    positions = [str(loaded[index - known]) for index in dict.fromkeys(indices) if index >= known]
    return f"lookup table {TABLE.key}[{','.join(positions)}]" if positions else None


def with_owners(effects: list[Effect], instructions: Sequence[Instruction]) -> list[Effect]:
    """Return the effects with the owners that earlier ones prove, found the slow way."""
    found = []
    for number, effect in enumerate(effects):
        owner = None
        if effect.operation is Operation.TRANSFER and effect.asset is not None:
            for before, instruction in zip(effects[:number], instructions, strict=False):
                if before.operation in (Operation.OPAQUE, Operation.KEY_GRANT, Operation.ADMIN):
                    owner = None
                elif before.contract == ASSOCIATED and bytes(instruction.data) != b"\2":
                    proven = str(instruction.accounts[1].pubkey), before.asset, str(instruction.accounts[5].pubkey)
                    if proven == (effect.destination, effect.asset, effect.contract):
                        owner = before.destination
        found.append(replace(effect, via=f"owner {owner}") if owner else effect)
    return found


def check(message: Message | MessageV0, data: bytes, made: list[Pair], first: int, fee: int) -> None:
    """Compare everything that we say about a message with what solders and the generator say."""
    theirs = message.instructions[first:]
    effects: list[Effect] = []
    for (instruction, effect), one in zip(made, theirs, strict=True):
        via = looked_up(message, bytes(one.accounts))
        late = effect.via == "durable nonce" and (first or effects)
        effects.append(opaque(instruction, via=via) if via or late else effect)
    effects = with_owners(effects, [instruction for instruction, _ in made])
    intent = parsed(data)
    fee += sum(effect.fee_max or 0 for effect in effects)
    effects = [replace(effect, fee_max=0) for effect in effects]
    assert intent.effects == (replace(effects[0], fee_max=fee), *effects[1:])
    durable = VersionedTransaction.populate(message, []).uses_durable_nonce()
    assert (Bound.EXPIRY in intent.binds) is not durable
    ours = solana_message.decode(data)
    assert list(ours.keys) == [bytes(one) for one in message.account_keys]
    assert ours.blockhash == bytes(message.recent_blockhash)
    assert [(i, a, d) for i, a, d in ours.instructions] == [
        (one.program_id_index, bytes(one.accounts), bytes(one.data)) for one in message.instructions
    ]
    assert [bool(one & 1) for one in ours.privileges[: len(ours.keys)]] == [
        message.is_signer(index) for index in range(len(ours.keys))
    ]


def test_generated_messages_are_read_as_solders_reads_them() -> None:
    """Ten thousand messages of both versions: structure, roles, effects, owners, fees, and whether they end."""
    source = random.Random(501)  # noqa: S311 - test data
    checked = 0
    while checked < MESSAGES:
        made = pairs(source)
        ours = source.random() < 0.7
        payer = PAYER if ours else key("payer")
        before, priority = budget(source, len(made) + 1)
        presence = call(str(key("program 9")), b"", (PAYER, "s"))
        made.append((presence, opaque(presence)))
        message = compiled(source, [*before, *(instruction for instruction, _ in made)], payer)
        data = encoded(message)
        signers = message.header.num_required_signatures
        if 1 + 64 * signers + len(data) > 1_232:
            continue
        check(message, data, made, len(before), 5_000 * signers + priority if ours else 0)
        checked += 1


def test_what_we_accept_of_mutations_solders_accepts_and_reads_alike() -> None:
    """Bytes are changed at random: what is accepted is sane to solders, too, and written by it as the same bytes."""
    source = random.Random(502)  # noqa: S311 - test data
    accepted = 0
    for _ in range(6_000):
        message = compiled(source, [instruction for instruction, _ in pairs(source)], PAYER)
        data = bytearray(encoded(message))
        for _ in range(source.randrange(1, 3)):
            at = source.choice((source.randrange(6), source.randrange(len(data))))
            data[at] = source.choice((0, 1, data[at] ^ 1, source.randrange(256)))
        changed = bytes(data)
        try:
            decoded = solana_message.decode(changed)
        except Malformed:
            continue
        accepted += 1
        theirs = from_bytes_versioned(changed)
        assert isinstance(theirs, Message | MessageV0)
        VersionedTransaction.populate(theirs, [TheirSignature.default()] * changed[changed[0] >> 7]).sanitize()
        assert encoded(theirs) == changed == solana_message.encode(decoded)
    assert accepted > 1_000


def test_partial_signatures_verify() -> None:
    """Whoever else must sign: our signature stands where solders expects it."""
    source = random.Random(503)  # noqa: S311 - test data
    ours = Keypair.from_seed(bytes([7]) * 32)
    for _ in range(200):
        others = [Keypair.from_seed(source.randbytes(32)) for _ in range(source.randrange(3))]
        presence = call(str(key("program 9")), b"", *((one.pubkey(), "s") for one in [*others, ours]))
        message = compiled(source, [presence], (others[0] if others else ours).pubkey())
        check_signature(encoded(message), ours, len(others))


def check_signature(data: bytes, ours: Keypair, others: int) -> None:
    """Assemble with our signature, and let solders verify it in its place."""
    value = bytes(ours.sign_message(data))
    output = solana.assemble(payload(data), signer(), Signature(value=value))
    read = VersionedTransaction.from_bytes(output.raw)
    index = list(read.message.account_keys).index(PAYER)
    assert [n for n, right in enumerate(read.verify_with_results()) if right] == [index]
    assert len(read.signatures) == others + 1
    assert output.transaction_hash == (value if index == 0 else b"")
