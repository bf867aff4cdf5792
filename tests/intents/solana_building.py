"""Solana messages for the tests, built with solders, the reference implementation's own code."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.sysvar import RENT
from solders.token.associated import get_associated_token_address

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Intent, Operation, Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import solana

US = Keypair.from_seed(bytes([7]) * 32)
THEM = Keypair.from_seed(bytes([8]) * 32)
PAYER = US.pubkey()
BLOCKHASH = Hash(bytes(range(32)))

SYSTEM = "11111111111111111111111111111111"
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
ASSOCIATED = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
BUDGET = "ComputeBudget111111111111111111111111111111"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
USDC = Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
ROUTER = Pubkey.from_string("JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4")
"""A program that nobody here can read."""


def key(name: str) -> Pubkey:
    """Return a made-up address."""
    return Pubkey(sha256(name.encode()).digest())


def payload(data: bytes) -> Payload:
    return Payload(kind=PayloadKind.SOLANA_MESSAGE, parts=(data,))


def signer(public_key: Pubkey = PAYER) -> Signer:
    stamp = Stamp(at=UnixMillis(1_700_000_000_000), nonce=1_700_000_000_000)
    return Signer(algorithm=KeyAlgorithm.ED25519, public_key=bytes(public_key), stamp=stamp)


def parsed(data: bytes, us: Pubkey = PAYER) -> Intent:
    return solana.parse(payload(data), signer(us))


def refusal(data: bytes, us: Pubkey = PAYER) -> tuple[str, str]:
    """Return field and problem of the refusal of some bytes."""
    with pytest.raises(Malformed) as caught:
        parsed(data, us)
    return caught.value.field, caught.value.problem


def legacy(*instructions: Instruction, payer: Pubkey = PAYER) -> bytes:
    return bytes(Message.new_with_blockhash(list(instructions), payer, BLOCKHASH))


def versioned(message: MessageV0) -> bytes:
    return b"\x80" + bytes(message)


def effects(*instructions: Instruction, us: Pubkey = PAYER, payer: Pubkey = PAYER) -> tuple[Effect, ...]:
    return parsed(legacy(*instructions, payer=payer), us).effects


def one(instruction: Instruction, us: Pubkey = PAYER) -> Effect:
    """Return the effect of one instruction that somebody else pays for, so that no fee stands on it."""
    found = effects(instruction, us=us, payer=THEM.pubkey())
    assert len(found) == 1
    return found[0]


def expected(operation: Operation, contract: str, **fields: object) -> Effect:
    """Return an effect on Solana without a fee."""
    values: dict[str, object] = {"network": "solana", "fee_max": 0, "contract": contract, **fields}
    return Effect(operation=operation, **values)  # type: ignore[arg-type]  # names and types are the test's concern


def opaque(instruction: Instruction, **fields: object) -> Effect:
    selector = "0x" + bytes(instruction.data)[:8].hex()
    return expected(Operation.OPAQUE, str(instruction.program_id), selector=selector, **fields)


def call(program: str, data: bytes, *accounts: tuple[Pubkey, str]) -> Instruction:
    """Return an instruction; the roles of an account are of the letters s (signer) and w (writable)."""
    metas = [AccountMeta(account, "s" in roles, "w" in roles) for account, roles in accounts]
    return Instruction(Pubkey.from_string(program), data, metas)


def token(
    tag: int, fields: bytes, *accounts: tuple[Pubkey, str], authority: Pubkey = PAYER, program: str = TOKEN
) -> Instruction:
    """Return an instruction of a Token program whose authority signs itself."""
    return call(program, bytes([tag]) + fields, *accounts, (authority, "s"))


def transfer_checked(
    amount: int,
    receiver: Pubkey,
    *,
    source: Pubkey | None = None,
    mint: Pubkey = USDC,
    authority: Pubkey = PAYER,
    program: str = TOKEN,
    decimals: int = 6,
) -> Instruction:
    accounts = ((source or key("our tokens"), "w"), (mint, ""), (receiver, "w"))
    fields = amount.to_bytes(8, "little") + bytes([decimals])
    return token(12, fields, *accounts, authority=authority, program=program)


def associated(wallet: Pubkey, mint: Pubkey = USDC, program: str = TOKEN) -> Pubkey:
    return get_associated_token_address(wallet, mint, Pubkey.from_string(program))


def create_associated(
    wallet: Pubkey,
    mint: Pubkey = USDC,
    *,
    program: str = TOKEN,
    data: bytes = b"\1",
    account: Pubkey | None = None,
    funder: Pubkey = PAYER,
    rent: bool = False,
) -> Instruction:
    accounts = [(funder, "sw"), (account or associated(wallet, mint, program), "w"), (wallet, ""), (mint, "")]
    accounts += [(Pubkey.from_string(SYSTEM), ""), (Pubkey.from_string(program), "")]
    return call(ASSOCIATED, data, *accounts, *([(RENT, "")] if rent else []))


def with_accounts(instruction: Instruction, accounts: Sequence[AccountMeta]) -> Instruction:
    return Instruction(instruction.program_id, bytes(instruction.data), list(accounts))


def with_data(instruction: Instruction, data: bytes) -> Instruction:
    return Instruction(instruction.program_id, data, instruction.accounts)
