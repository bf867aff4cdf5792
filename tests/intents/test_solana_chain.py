"""Facts about Solana messages against the chain itself: LiteSVM runs them, with the real Token programs.

Whatever a message does that is fully read, the facts must have said: lamports, tokens, owners, delegates, the fee.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping

from solders import compute_budget
from solders import system_program as system
from solders.account import Account
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.token.state import Mint, TokenAccount, TokenAccountState
from solders.transaction import Transaction, VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo, TransactionMetadata

from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Intent, Operation
from tests.intents.solana_building import (
    MEMO,
    PAYER,
    SYSTEM,
    THEM,
    TOKEN,
    TOKEN_2022,
    US,
    associated,
    call,
    create_associated,
    effects,
    key,
    opaque,
    parsed,
    token,
    transfer_checked,
)

MESSAGES = 3_000
PEOPLE = [key(f"wallet {number}") for number in range(4)]
MINTS = {key("mint a"): TOKEN, key("mint b"): TOKEN, key("mint c"): TOKEN_2022}
HELD = {mint: {PAYER: key(f"{mint} ours"), THEM.pubkey(): key(f"{mint} theirs")} for mint in MINTS}
FUNDS = 10**12


def world() -> LiteSVM:
    """Return a chain where both keys have coins, and an account of each token; ours may issue the tokens."""
    chain = LiteSVM().with_sigverify(sigverify=False)
    for owner in (PAYER, THEM.pubkey(), *PEOPLE[:2]):
        chain.set_account(owner, Account(FUNDS, b"", Pubkey.from_string(SYSTEM)))
    for mint, program in MINTS.items():
        state = Mint(PAYER, FUNDS, 6, is_initialized=True, freeze_authority=PAYER)
        chain.set_account(mint, Account(FUNDS, bytes(state), Pubkey.from_string(program)))
        for owner, address in HELD[mint].items():
            held = TokenAccount(mint, owner, FUNDS, None, TokenAccountState.Initialized, None, 0)
            chain.set_account(address, Account(FUNDS, bytes(held), Pubkey.from_string(program)))
    return chain


def pay(source: random.Random) -> list[Instruction]:
    to, sender = source.choice(PEOPLE), source.choice((PAYER, THEM.pubkey()))
    names = system.TransferParams(from_pubkey=sender, to_pubkey=to, lamports=source.randrange(10**7, 10**10))
    return [system.transfer(names)]


def send(source: random.Random) -> list[Instruction]:
    mint, program = source.choice(list(MINTS.items()))
    to = HELD[mint][THEM.pubkey()]
    amount = source.randrange(10**9)
    return [transfer_checked(amount, to, source=HELD[mint][PAYER], mint=mint, program=program)]


def send_to_new(source: random.Random) -> list[Instruction]:
    mint, program = source.choice(list(MINTS.items()))
    wallet = source.choice(PEOPLE)
    create = create_associated(wallet, mint, program=program)
    to, amount = associated(wallet, mint, program), source.randrange(10**9)
    return [create, transfer_checked(amount, to, source=HELD[mint][PAYER], mint=mint, program=program)]


def power(source: random.Random) -> list[Instruction]:
    mint, program = source.choice(list(MINTS.items()))
    ours, to, amount = HELD[mint][PAYER], source.choice(PEOPLE), source.getrandbits(40).to_bytes(8, "little")
    return [
        source.choice(
            (
                token(13, amount + b"\6", (ours, "w"), (mint, ""), (to, ""), program=program),
                token(5, b"", (ours, "w"), program=program),
                token(6, b"\3\1" + bytes(to), (ours, "w"), program=program),
                token(
                    6, b"\2\1" + bytes(to), (HELD[mint][THEM.pubkey()], "w"), authority=THEM.pubkey(), program=program
                ),
                token(7, amount, (mint, "w"), (ours, "w"), program=program),
                token(10, b"", (HELD[mint][THEM.pubkey()], "w"), (mint, ""), program=program),
                system.assign(system.AssignParams(pubkey=THEM.pubkey(), owner=to)),
                call(MEMO, b"hello", (PAYER, "s")),
            )
        )
    ]


def budget(source: random.Random) -> list[Instruction]:
    price = compute_budget.set_compute_unit_price(source.randrange(10**6))
    return [price, compute_budget.set_compute_unit_limit(source.randrange(100_000, 10**6))][: source.randrange(3)]


KINDS: tuple[Callable[[random.Random], list[Instruction]], ...] = (pay, send, send_to_new, power)


def message(source: random.Random, blockhash: Hash) -> bytearray:
    """Return a message of some instructions, signed by both keys, and changed in up to two bytes."""
    instructions = budget(source)
    for _ in range(source.randrange(1, 4)):
        instructions += source.choice(KINDS)(source)
    instructions.append(call(MEMO, b"both sign", (PAYER, "s"), (THEM.pubkey(), "s")))
    data = bytearray(bytes(Message.new_with_blockhash(instructions, PAYER, blockhash)))
    first = 4 + 32 * data[3] + 32
    for _ in range(source.choice((0, 0, 1, 2))):
        data[source.randrange(first, len(data))] = source.choice((*range(12), source.randrange(256)))
    return data


Accounts = Mapping[str, Account]


def state(accounts: Accounts, address: str) -> TokenAccount | None:
    account = accounts.get(address)
    if account is None or str(account.owner) not in (TOKEN, TOKEN_2022) or len(account.data) < 165:
        return None
    return TokenAccount.from_bytes(bytes(account.data)[:165])


def lamports(accounts: Accounts, address: str) -> int:
    return accounts[address].lamports if address in accounts else 0


def said(effects: tuple[Effect, ...]) -> tuple[Counter[str], Counter[str]]:
    """Return the changes of lamports and of tokens, by account, that the facts say."""
    coins: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for effect in effects:
        if effect.amount is None or effect.destination is None:
            continue
        if effect.operation is Operation.TRANSFER:
            changes = coins if effect.asset is None else tokens
            changes[effect.source or str(PAYER)] -= effect.amount
            changes[effect.destination] += effect.amount
        if effect.operation is Operation.ADMIN:
            tokens[effect.destination] += effect.amount
    return coins, tokens


def check_coins(intent: Intent, before: Accounts, after: Accounts, fee: int) -> None:
    """All lamports went where the facts say, but for rent of new token accounts; the fee is not above its bound."""
    coins, _ = said(intent.effects)
    both = {str(PAYER), str(THEM.pubkey())}
    moved = Counter({address: lamports(after, address) - lamports(before, address) for address in after})
    new = {address for address in after if address not in before and state(after, address) is not None}
    rent = sum(moved[address] for address in new)
    assert len(new) <= sum(one.operation is Operation.SETUP for one in intent.effects)
    assert {address: moved[address] for address in moved if address not in both | new and moved[address]} == {
        address: change for address, change in coins.items() if address not in both and change
    }
    assert sum(moved[address] for address in both) == sum(coins[address] for address in both) - fee - rent
    bound = intent.effects[0].fee_max
    assert bound is not None
    assert fee <= bound
    assert moved[str(PAYER)] >= coins[str(PAYER)] - bound - rent


def check_tokens(intent: Intent, before: Accounts, after: Accounts) -> None:
    """All tokens went where the facts say; nobody owns or may spend what the facts do not say."""
    _, tokens = said(intent.effects)
    facts = intent.effects
    changes: Counter[str] = Counter()
    for address in after:
        new, old = state(after, address), state(before, address)
        if new is None:
            continue
        changes[address] += new.amount - (old.amount if old else 0)
        if old is None:
            owner = str(new.owner)
            assert [one for one in facts if one.operation is Operation.SETUP and one.destination == owner]
            continue
        if (old.owner, old.close_authority) != (new.owner, new.close_authority):
            powers = {str(new.owner), str(new.close_authority)}
            grants = [one for one in facts if one.operation is Operation.KEY_GRANT and one.destination in powers]
            assert [one for one in grants if one.source == address]
        if new.delegate is not None and old.delegate != new.delegate:
            allowed = [one for one in facts if one.operation is Operation.ALLOWANCE and one.source == address]
            assert (allowed[-1].destination, allowed[-1].amount) == (str(new.delegate), new.delegated_amount)
        if old.state != new.state:
            assert [one for one in facts if one.operation is Operation.ADMIN and one.destination == address]
    assert {a: n for a, n in changes.items() if n} == {a: n for a, n in tokens.items() if n}


def check_programs(intent: Intent, before: Accounts, after: Accounts) -> None:
    """No account went to another program unless the facts name it and that program."""
    for address, account in after.items():
        if address in before and account.lamports and before[address].owner != account.owner:
            source = None if address == str(PAYER) else address
            grants = [one for one in intent.effects if one.operation is Operation.KEY_GRANT]
            assert (str(account.owner), source) in {(one.destination, one.source) for one in grants}


def test_what_runs_is_what_was_said() -> None:
    """Messages, many of them changed at random, are run; those that succeed and are fully read do what was said."""
    chain, source = world(), random.Random(285)  # noqa: S311 - test data
    blockhash, checked = chain.latest_blockhash(), 0
    for _ in range(MESSAGES):
        data = bytes(message(source, blockhash))
        try:
            intent = parsed(data)
        except Malformed:
            continue
        plain = Message.from_bytes(data)
        signatures = [Signature.default()] * plain.header.num_required_signatures
        result = chain.simulate_transaction(VersionedTransaction.populate(plain, signatures))
        if not isinstance(result, SimulatedTransactionInfo) or intent.completeness is not Completeness.FULL:
            continue
        after = {str(address): account for address, account in result.post_accounts()}
        known = {address: chain.get_account(Pubkey.from_string(address)) for address in after}
        before = {address: account for address, account in known.items() if account is not None}
        check_coins(intent, before, after, result.meta().fee())
        check_tokens(intent, before, after)
        check_programs(intent, before, after)
        checked += 1
    assert checked > MESSAGES // 3


def run(chain: LiteSVM, *instructions: Instruction, keys: tuple[Keypair, ...] = (US,)) -> int:
    """Run a message that must succeed, and return its fee; it is not above what we say."""
    at = chain.latest_blockhash()
    plain = Message.new_with_blockhash(list(instructions), PAYER, at)
    result = chain.send_transaction(Transaction(list(keys), plain, at))
    assert isinstance(result, TransactionMetadata), result
    (first, *_) = parsed(bytes(plain)).effects
    assert first.fee_max is not None
    assert result.fee() <= first.fee_max
    return result.fee()


def test_fees_are_those_of_the_chain() -> None:
    """With a limit the fee is exact; without one it is never above, even if only the budget itself costs."""
    chain = world()
    price, limit = compute_budget.set_compute_unit_price, compute_budget.set_compute_unit_limit
    assert run(chain, price(1_000_001), limit(1_000), call(MEMO, b"a")) == 5_000 + 1_001
    assert run(chain, price(1_000_000), call(MEMO, b"b")) <= 5_000 + 203_000
    assert run(chain, price(1_000_000)) == 5_000 + 3_000


def test_a_nonce_may_advance_under_a_recent_blockhash() -> None:
    """Why a durable nonce is no slot: the instruction works in messages whose blockhash is not the nonce's value."""
    chain, nonce = world(), Keypair.from_seed(bytes([9]) * 32)
    run(chain, *system.create_nonce_account(PAYER, nonce.pubkey(), PAYER, 10**8), keys=(US, nonce))
    names = system.AdvanceNonceAccountParams(nonce_pubkey=nonce.pubkey(), authorized_pubkey=PAYER)
    for amount in (10**9, 2 * 10**9):
        chain.expire_blockhash()
        transfer = system.TransferParams(from_pubkey=PAYER, to_pubkey=key("friend"), lamports=amount)
        run(chain, system.advance_nonce_account(names), system.transfer(transfer))
    assert chain.get_balance(key("friend")) == 3 * 10**9


def test_an_allocated_wallet_is_locked() -> None:
    """Why Allocate of our own account is no SETUP: afterwards its coins cannot be moved; it is opaque."""
    chain = world()
    allocate = system.allocate(system.AllocateParams(pubkey=THEM.pubkey(), space=1))
    run(chain, allocate, keys=(US, THEM))
    transfer = system.transfer(
        system.TransferParams(from_pubkey=THEM.pubkey(), to_pubkey=key("friend"), lamports=10**9)
    )
    plain = Message.new_with_blockhash([transfer], PAYER, chain.latest_blockhash())
    result = chain.send_transaction(Transaction([US, THEM], plain, chain.latest_blockhash()))
    assert isinstance(result, FailedTransactionMetadata)
    assert "must not carry data" in "".join(result.meta().logs())
    assert effects(allocate, us=THEM.pubkey()) == (opaque(allocate),)
