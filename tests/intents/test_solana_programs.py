"""What each instruction means, and that nothing but exactly that instruction means it."""

from collections.abc import Iterator
from hashlib import sha256

import pytest
from solders import compute_budget
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.sysvar import RENT

from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.intents.solana_address import associated_token_account, on_curve
from tests.intents.solana_building import (
    ASSOCIATED,
    BUDGET,
    MEMO,
    PAYER,
    ROUTER,
    SYSTEM,
    THEM,
    TOKEN,
    TOKEN_2022,
    USDC,
    associated,
    call,
    create_associated,
    effects,
    expected,
    key,
    legacy,
    opaque,
    parsed,
    refusal,
    token,
    transfer_checked,
    with_accounts,
    with_data,
)
from tests.intents.solana_samples import AMOUNT, FRIEND, MULTISIG, NONCE, OURS, SAMPLES

PRESENCE = call(MEMO, b"here", (PAYER, "s"), (THEM.pubkey(), "s"))
"""Makes both keys sign, and neither writable, whatever stands beside it."""


def seen(instruction: Instruction) -> Effect:
    """Return the effect of an instruction in a message that gives it no privileges but those it asks for."""
    found = effects(instruction, PRESENCE, payer=key("payer"))
    assert len(found) == 2
    return found[0]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_effect_of_each_instruction(name: str) -> None:
    """Every field of the effect is what the instruction says, and no other is set."""
    instruction, effect = SAMPLES[name]
    assert seen(instruction) == effect


def weakened(instruction: Instruction) -> Iterator[list[AccountMeta]]:
    """Yield the accounts with one account more, one less, and each privilege taken away once."""
    accounts = list(instruction.accounts)
    yield [*accounts, AccountMeta(key("one more"), is_signer=False, is_writable=False)]
    if accounts:
        yield accounts[:-1]
    for index, meta in enumerate(accounts):
        signer, writable = meta.is_signer, meta.is_writable
        for less in ([(False, writable)] if signer else []) + ([(signer, False)] if writable else []):
            changed = AccountMeta(without_signature(meta.pubkey, *less), *less)
            yield [*accounts[:index], changed, *accounts[index + 1 :]]


def without_signature(account: Pubkey, signer: bool, _writable: bool) -> Pubkey:  # noqa: FBT001 - as AccountMeta
    """Return the account, or another one if it shall not sign: ours sign in any case."""
    return account if signer or account not in (PAYER, THEM.pubkey()) else key("signs nothing")


NOT_WEAKENED = {"memo", "old memo"}
"""They take any number of signers."""
STILL_THE_SAME = {f"{program} {name}" for program in (TOKEN, TOKEN_2022) for name in ("associated of old",)}


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - NOT_WEAKENED))
def test_other_accounts_are_opaque(name: str) -> None:
    """An account more or less, or one that must sign or be written to and does not: nothing is said of it."""
    instruction, effect = SAMPLES[name]
    for accounts in weakened(instruction):
        changed = with_accounts(instruction, accounts)
        allowed = [opaque(changed)]
        if len(accounts) < len(instruction.accounts) and (name in STILL_THE_SAME or "multisig" in name):
            allowed.append(effect)  # the rent sysvar, and one of two signers, may be missing
        if name == "create with seed" and len(accounts) == 2:
            allowed.append(effect)  # the funder is the base
        assert seen(changed) in allowed


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - NOT_WEAKENED))
def test_other_lengths_are_opaque(name: str) -> None:
    """A byte more or less: nothing is said of it, though the chain would ignore a byte more."""
    instruction, _ = SAMPLES[name]
    data = bytes(instruction.data)
    lengths = [data + b"\0", data + data] if data else [b"\0\0"]
    lengths += [data[:-1], data[:1]] if len(data) > 1 else []
    for changed in (with_data(instruction, other) for other in lengths):
        assert seen(changed) == opaque(changed)


@pytest.mark.parametrize(
    "instruction",
    [
        token(3, AMOUNT, (OURS, "w"), (FRIEND, "w")),
        token(4, AMOUNT, (OURS, "w"), (FRIEND, "")),
        token(8, AMOUNT, (OURS, "w"), (USDC, "w")),
        token(15, AMOUNT + b"\6", (OURS, "w"), (USDC, "w")),
        token(6, b"\4\1" + bytes(FRIEND), (OURS, "w")),
        token(6, b"\2\2" + bytes(FRIEND), (OURS, "w")),
        token(6, b"\2\1", (OURS, "w")),
        token(6, b"\2\0" + bytes(FRIEND), (OURS, "w")),
        token(6, b"\x12\1" + bytes(FRIEND), (OURS, "w"), program=TOKEN_2022),
        token(26, b"\1" + AMOUNT + b"\6" + AMOUNT, (OURS, "w"), (USDC, ""), (FRIEND, "w")),
        token(26, b"\2" + AMOUNT + b"\6" + AMOUNT, (OURS, "w"), (USDC, ""), (FRIEND, "w"), program=TOKEN_2022),
        call(TOKEN, b"\x14\6" + bytes(FRIEND) + b"\0", (USDC, "w")),
        call(TOKEN, b"\xff\1\1", (USDC, "w")),
        call(TOKEN, b""),
        call(TOKEN, b"\1", (OURS, "w"), (USDC, ""), (FRIEND, ""), (key("not rent"), "")),
        call(TOKEN, b"\x10" + bytes(FRIEND), (OURS, "w"), (USDC, ""), (key("not rent"), "")),
        call(SYSTEM, b""),
        call(SYSTEM, b"\2\0\0"),
        call(SYSTEM, b"\2\1\0\0" + AMOUNT, (PAYER, "sw"), (FRIEND, "w")),
        call(SYSTEM, b"\x0d\0\0\0" + bytes(48), (PAYER, "sw")),
        call(SYSTEM, b"\0\0\0\0" + bytes(16) + bytes(ROUTER), (PAYER, "sw"), (THEM.pubkey(), "sw")),
        call(SYSTEM, b"\4\0\0\0", (NONCE, "w"), (RENT, ""), (PAYER, "s")),
        call(SYSTEM, b"\5\0\0\0" + AMOUNT, (NONCE, "w"), (FRIEND, "w"), (RENT, ""), (RENT, ""), (PAYER, "s")),
        call(SYSTEM, b"\6\0\0\0" + bytes(FRIEND), (NONCE, "w"), (RENT, ""), (RENT, "")),
        call(ASSOCIATED, b"\3"),
        create_associated(FRIEND, account=key("elsewhere")),
        create_associated(FRIEND, program=MEMO),
        with_accounts(create_associated(FRIEND, rent=True), create_associated(FRIEND).accounts * 2),
        call(MEMO, b"\xff", (PAYER, "s")),
        call(MEMO, b"hello", (FRIEND, "")),
        call(str(ROUTER), bytes(range(20)), (PAYER, "sw"), (FRIEND, "w")),
        call(str(ROUTER), b""),
    ],
)
def test_what_is_not_known_is_opaque(instruction: Instruction) -> None:
    """Instructions without a mint, of no known kind, with wrong sysvars or addresses: program and data are named."""
    assert seen(instruction) == opaque(instruction)


@pytest.mark.parametrize("name", ["create with seed", "transfer with seed", "assign with seed", "allocate with seed"])
def test_derived_addresses_are_derived_again(name: str) -> None:
    """An account that does not follow from base, seed and owner is not believed to be the derived one."""
    instruction, effect = SAMPLES[name]
    index = next(
        n for n, meta in enumerate(instruction.accounts) if str(meta.pubkey) in (effect.source, effect.destination)
    )
    accounts = list(instruction.accounts)
    accounts[index] = AccountMeta(key("another"), is_signer=False, is_writable=True)
    changed = with_accounts(instruction, accounts)
    assert seen(changed) == opaque(changed)


@pytest.mark.parametrize("index", [0, 2, 3, 6])
def test_recovery_names_the_right_accounts_only(index: int) -> None:
    """Nested account, receiver and owner account are all derived again; the program must be a Token program."""
    instruction, _ = SAMPLES["recover"]
    accounts = list(instruction.accounts)
    accounts[index] = AccountMeta(key("another"), is_signer=False, is_writable=True)
    changed = with_accounts(instruction, accounts)
    assert seen(changed) == opaque(changed)


def test_recovery_needs_our_own_account() -> None:
    """An owner account that is not the wallet's own is refused, though the nested one follows from it."""
    instruction, _ = SAMPLES["recover"]
    accounts = list(instruction.accounts)
    for index, account in ((0, associated(key("another"), key("lost"))), (3, key("another"))):
        accounts[index] = AccountMeta(account, is_signer=False, is_writable=True)
    changed = with_accounts(instruction, accounts)
    assert seen(changed) == opaque(changed)


def test_an_associated_account_is_created_by_the_system_program() -> None:
    """Another program in its place is not what the instruction is."""
    accounts = create_associated(FRIEND).accounts
    accounts[4] = AccountMeta(ROUTER, is_signer=False, is_writable=False)
    changed = with_accounts(create_associated(FRIEND), accounts)
    assert seen(changed) == opaque(changed)


def derived(tag: int, seed: bytes, owner: bytes = bytes(32)) -> Instruction:
    """Return an instruction whose account does follow from its bytes, though no chain would take them."""
    account = Pubkey(sha256(bytes(PAYER) + seed + owner).digest())
    text = len(seed).to_bytes(8, "little") + seed
    ours, base = (account, "w"), (PAYER, "s")
    data, accounts = {
        3: (bytes(PAYER) + text + bytes(16) + owner, [(PAYER, "sw"), ours]),
        9: (bytes(PAYER) + text + bytes(8) + owner, [ours, base]),
        10: (bytes(PAYER) + text + owner, [ours, base]),
        11: (bytes(8) + text + owner, [ours, base, (FRIEND, "w")]),
    }[tag]
    return call(SYSTEM, bytes((tag, 0, 0, 0)) + data, *accounts)


@pytest.mark.parametrize("tag", [3, 9, 10, 11])
def test_impossible_seeds_and_owners_are_opaque(tag: int) -> None:
    """A seed that is too long, or no text, or longer than the data is none; an owner has 32 bytes."""
    for seed in (b"", b"s" * 32, b"\xc3\xa9" * 16):
        assert seen(derived(tag, seed)).operation is not Operation.OPAQUE
    whole = derived(tag, b"s")
    impossible = [
        derived(tag, b"s" * 33),
        with_accounts(derived(tag, b"s" * 33), derived(tag, b"").accounts),
        derived(tag, b"\xc3\x28"),
        with_data(whole, bytes(whole.data).replace(b"\1" + bytes(7), b"\xff" * 8)),
        derived(tag, b"s", bytes(31)),
        derived(tag, b"s", bytes(33)),
    ]
    for instruction in impossible:
        assert seen(instruction) == opaque(instruction)


def test_a_derived_account_has_one_base() -> None:
    """Without a third account the funder must be the base; with one, that must be the base and sign."""
    account = Pubkey.create_with_seed(THEM.pubkey(), "s", Pubkey.from_string(SYSTEM))
    data = b"\3\0\0\0" + bytes(THEM.pubkey()) + (1).to_bytes(8, "little") + b"s" + bytes(48)
    shared = ((PAYER, "sw"), (account, "w"))
    right = call(SYSTEM, data, *shared, (THEM.pubkey(), "s"))
    assert seen(right) == expected(Operation.TRANSFER, SYSTEM, destination=str(account), amount=0)
    for wrong in (call(SYSTEM, data, *shared), call(SYSTEM, data, *shared, (PAYER, "s"))):
        assert seen(wrong) == opaque(wrong)


def test_a_multisignature_needs_signers_only() -> None:
    """Among the signers of a multisignature account nobody stands who does not sign, and at most eleven do."""
    accounts = ((OURS, "w"), (USDC, ""), (FRIEND, "w"), (MULTISIG, ""))
    data = b"\x0c" + AMOUNT + b"\6"
    for others in ([(FRIEND, "")], [(PAYER, "s"), (FRIEND, "")], [(PAYER, "s")] * 12):
        instruction = call(TOKEN, data, *accounts, *others)
        assert seen(instruction) == opaque(instruction)
    assert seen(call(TOKEN, data, *accounts, *[(PAYER, "s")] * 11)).operation is Operation.TRANSFER


def test_a_nonce_is_durable_only_at_the_beginning() -> None:
    """AdvanceNonceAccount further back is opaque: there it frees nothing of its end."""
    advance, effect = SAMPLES["advance nonce"]
    assert effects(advance, PRESENCE, advance, payer=key("payer"))[::2] == (effect, opaque(advance))


def test_a_transfer_names_the_proven_owner() -> None:
    """After an instruction that fails unless the account is the wallet's, the transfer says whose account it is."""
    transfer = transfer_checked(5, associated(FRIEND))
    create = create_associated(FRIEND)
    assert effects(create, transfer)[1].via == f"owner {FRIEND}"
    assert effects(create_associated(FRIEND, data=b"\0"), PRESENCE, transfer)[2].via == f"owner {FRIEND}"
    assert effects(transfer, create)[0].via is None
    assert effects(create, transfer_checked(5, associated(FRIEND), mint=key("mint")))[1].via is None
    assert effects(create, transfer_checked(5, associated(FRIEND), program=TOKEN_2022))[1].via is None
    assert effects(create_associated(key("another")), transfer)[1].via is None


@pytest.mark.parametrize(
    "between",
    [
        token(6, b"\2\1" + bytes(key("thief")), (associated(FRIEND), "w"), authority=THEM.pubkey()),
        call(str(ROUTER), b"anything"),
        token(7, AMOUNT, (USDC, "w"), (OURS, "w")),
    ],
)
def test_an_owner_is_forgotten_once_it_may_have_changed(between: Instruction) -> None:
    """After a change of authority, or what nobody can read, no owner is claimed for the account any more."""
    found = effects(create_associated(FRIEND), between, transfer_checked(5, associated(FRIEND)))
    assert found[2].via is None


def test_addresses_are_derived_as_by_solders() -> None:
    """Points of the curve and derived token accounts are those of the reference implementation."""
    programs = [Pubkey.from_string(TOKEN), Pubkey.from_string(TOKEN_2022)]
    for number in range(1_500):
        wallet, mint, program = key(f"wallet {number}"), key(f"mint {number % 7}"), programs[number % 2]
        assert on_curve(bytes(wallet)) == wallet.is_on_curve()
        assert associated_token_account(bytes(wallet), bytes(mint), bytes(program)) == bytes(
            associated(wallet, mint, str(program))
        )
    special = [0, 1, 2, 2**255 - 20, 2**255 - 19, 2**255 - 18, 2**255 - 1, 2**255, 2**255 + 1, 2**256 - 1]
    for y in (value.to_bytes(32, "little") for value in special):
        assert on_curve(y) == Pubkey(y).is_on_curve()


LIMIT, PRICE = compute_budget.set_compute_unit_limit, compute_budget.set_compute_unit_price
PAY = SAMPLES["transfer"][0]
PRECOMPILED = ("Ed25519SigVerify111111111111111111111111111", "KeccakSecp256k11111111111111111111111111111")


@pytest.mark.parametrize(
    ("instructions", "fee_max"),
    [
        ([PAY], 5_000),
        ([PRICE(1), PAY], 5_001),
        ([PRICE(5), PAY], 5_000 + 2),
        ([PRICE(1_000_000), PAY], 5_000 + 203_000),
        ([PRICE(1_000_000), PAY, PAY, PAY], 5_000 + 603_000),
        ([PRICE(1_000_000), *[PAY] * 8], 5_000 + 1_400_000),
        ([PRICE(1_000_001), LIMIT(1), PAY], 5_002),
        ([LIMIT(2**32 - 1), PRICE(1_000_000), PAY], 5_000 + 1_400_000),
        ([LIMIT(0), PRICE(2**64 - 1), PAY], 5_000),
        ([PRICE(1_000_000)], 5_000 + 3_000),
        ([*(call(program, b"\3") for program in PRECOMPILED), call(PRECOMPILED[0], b""), PAY], 35_000),
    ],
)
def test_the_highest_fee(instructions: list[Instruction], fee_max: int) -> None:
    """Signatures, and units times their price, rounded up; it stands on the first effect, if we pay."""
    found = effects(*instructions)
    assert [one.fee_max for one in found] == [fee_max] + [0] * (len(found) - 1)
    assert all(one.fee_max == 0 for one in effects(*instructions, PRESENCE, payer=key("payer")))


def test_a_budget_alone_prepares_nothing_but_its_fee() -> None:
    """A message of nothing but a compute budget has one effect, so that no rule about all effects holds for none."""
    instructions = [
        LIMIT(1),
        PRICE(1),
        compute_budget.request_heap_frame(32_768),
        compute_budget.set_loaded_accounts_data_size_limit(9),
    ]
    intent = parsed(legacy(*instructions))
    assert intent.effects == (expected(Operation.SETUP, BUDGET, fee_max=5_001),)
    assert intent.completeness is Completeness.FULL


@pytest.mark.parametrize(
    ("instructions", "number", "problem"),
    [
        ([LIMIT(1), PAY, LIMIT(1)], 2, "again"),
        ([PRICE(1), PRICE(2)], 1, "again"),
        ([with_data(PRICE(1), bytes(PRICE(1).data) + b"\0")], 0, "to the byte"),
        ([with_data(PRICE(1), bytes(PRICE(1).data)[:-1])], 0, "to the byte"),
        ([call(BUDGET, b"")], 0, "to the byte"),
        ([call(BUDGET, b"\0" + bytes(8))], 0, "to the byte"),
        ([call(BUDGET, b"\5" + bytes(4))], 0, "to the byte"),
        ([call(BUDGET, bytes(PRICE(1).data), (FRIEND, ""))], 0, "has accounts"),
    ],
)
def test_a_strange_budget_is_refused(instructions: list[Instruction], number: int, problem: str) -> None:
    """The chain would take bytes behind a price, so nothing that is not to the byte is let through."""
    field, found = refusal(legacy(*instructions))
    assert field == f"solana_message.instructions[{number}]"
    assert problem in found


def test_completeness_is_that_of_the_worst_and_of_all() -> None:
    """FULL if all is known, PARTIAL if something is not, be it an amount, OPAQUE if nothing is."""
    unknown = call(str(ROUTER), b"")
    close = SAMPLES[f"{TOKEN} close"][0]
    assert parsed(legacy(PAY)).completeness is Completeness.FULL
    assert parsed(legacy(PAY, unknown)).completeness is Completeness.PARTIAL
    assert parsed(legacy(close)).completeness is Completeness.PARTIAL
    assert parsed(legacy(unknown, unknown)).completeness is Completeness.OPAQUE


def test_rent_of_accounts_of_others_is_a_fee() -> None:
    """Who owns an account can close it and take its rent: it stands on the first effect, whoever pays the fee."""
    strangers = [create_associated(key(f"stranger {number}")) for number in range(7)]
    found = effects(*strangers)
    assert [one.fee_max for one in found] == [5_000 + 7 * 2_039_280] + [0] * 6
    paid_by_another = effects(PRESENCE, *strangers, payer=key("payer"))
    assert [one.fee_max for one in paid_by_another] == [7 * 2_039_280] + [0] * 7


def test_rent_that_is_ours_or_of_others_is_no_fee() -> None:
    """An account of our own gives the rent back to us; one that somebody else funds takes nothing from us."""
    ours = effects(create_associated(PAYER))
    theirs = effects(create_associated(FRIEND, funder=THEM.pubkey()), PRESENCE, payer=key("payer"))
    assert [one.fee_max for one in ours] == [5_000]
    assert [one.fee_max for one in theirs] == [0, 0]
