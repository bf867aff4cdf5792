"""One instruction of every kind that is decoded, with the whole effect that it must have for ``PAYER``."""

from solders import system_program as system
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.sysvar import RENT

from keyvault.core.intent import Effect, Operation
from tests.intents.solana_building import (
    ASSOCIATED,
    MEMO,
    PAYER,
    SYSTEM,
    THEM,
    TOKEN,
    TOKEN_2022,
    USDC,
    associated,
    call,
    create_associated,
    expected,
    key,
    token,
    transfer_checked,
)

OURS = key("our tokens")
FRIEND = key("friend")
NONCE = key("nonce")
SEEDED = Pubkey.create_with_seed(PAYER, "savings", Pubkey.from_string(TOKEN))
THEIR_SEEDED = Pubkey.create_with_seed(THEM.pubkey(), "é", Pubkey.from_string(SYSTEM))
AMOUNT = (2**64 - 1).to_bytes(8, "little")
MULTISIG = key("multisig")

RENT_MAX = {TOKEN: 2_039_280, TOKEN_2022: 5_345_280}
"""What an account of another wallet takes from us, at most: the first is what the chain asks for 165 bytes."""

Samples = dict[str, tuple[Instruction, Effect]]


def sent(amount: int | None, **fields: object) -> Effect:
    return expected(Operation.TRANSFER, SYSTEM, destination=str(FRIEND), amount=amount, **fields)


def granted(contract: str, to: object, **fields: object) -> Effect:
    return expected(Operation.KEY_GRANT, contract, destination=str(to), **fields)


def prepared(contract: str, of: object, **fields: object) -> Effect:
    return expected(Operation.SETUP, contract, destination=str(of), **fields)


def _transfers() -> Samples:
    plain = system.TransferParams(from_pubkey=PAYER, to_pubkey=FRIEND, lamports=2**64 - 1)
    seeded = system.TransferWithSeedParams(
        from_pubkey=THEIR_SEEDED,
        from_base=THEM.pubkey(),
        from_seed="é",
        from_owner=Pubkey.from_string(SYSTEM),
        to_pubkey=FRIEND,
        lamports=6,
    )
    withdrawal = system.WithdrawNonceAccountParams(
        nonce_pubkey=NONCE, authorized_pubkey=PAYER, to_pubkey=FRIEND, lamports=7
    )
    creation = system.CreateAccountParams(
        from_pubkey=PAYER, to_pubkey=THEM.pubkey(), lamports=8, space=165, owner=Pubkey.from_string(TOKEN)
    )
    seeded_creation = system.CreateAccountWithSeedParams(
        from_pubkey=PAYER,
        to_pubkey=SEEDED,
        base=PAYER,
        seed="savings",
        lamports=9,
        space=165,
        owner=Pubkey.from_string(TOKEN),
    )
    return {
        "transfer": (system.transfer(plain), sent(2**64 - 1)),
        "transfer with seed": (system.transfer_with_seed(seeded), sent(6, source=str(THEIR_SEEDED))),
        "withdraw nonce": (system.withdraw_nonce_account(withdrawal), sent(7, source=str(NONCE))),
        "create": (
            system.create_account(creation),
            expected(Operation.TRANSFER, SYSTEM, destination=str(THEM.pubkey()), amount=8),
        ),
        "create with seed": (
            system.create_account_with_seed(seeded_creation),
            expected(Operation.TRANSFER, SYSTEM, destination=str(SEEDED), amount=9),
        ),
    }


def _owners() -> Samples:
    assign = system.AssignParams(pubkey=PAYER, owner=FRIEND)
    seeded = Pubkey.create_with_seed(PAYER, "s", FRIEND)
    assign_seed = system.AssignWithSeedParams(address=seeded, base=PAYER, seed="s", owner=FRIEND)
    allocate_seed = system.AllocateWithSeedParams(address=seeded, base=PAYER, seed="s", space=9, owner=FRIEND)
    allocate = system.AllocateParams(pubkey=THEM.pubkey(), space=9)
    return {
        "assign": (system.assign(assign), granted(SYSTEM, FRIEND)),
        "assign with seed": (system.assign_with_seed(assign_seed), granted(SYSTEM, FRIEND, source=str(seeded))),
        "allocate with seed": (
            system.allocate_with_seed(allocate_seed),
            granted(SYSTEM, FRIEND, source=str(seeded)),
        ),
        "allocate": (system.allocate(allocate), prepared(SYSTEM, THEM.pubkey())),
    }


def _nonces() -> Samples:
    advance = system.AdvanceNonceAccountParams(nonce_pubkey=NONCE, authorized_pubkey=PAYER)
    authorize = system.AuthorizeNonceAccountParams(nonce_pubkey=NONCE, authorized_pubkey=PAYER, new_authority=FRIEND)
    ours = system.InitializeNonceAccountParams(nonce_pubkey=NONCE, authority=PAYER)
    theirs = system.InitializeNonceAccountParams(nonce_pubkey=NONCE, authority=FRIEND)
    upgrade = system.UpgradeNonceAccountParams(nonce_pubkey=NONCE)
    return {
        "advance nonce": (system.advance_nonce_account(advance), prepared(SYSTEM, NONCE, via="durable nonce")),
        "authorize nonce": (
            system.authorize_nonce_account(authorize),
            granted(SYSTEM, FRIEND, source=str(NONCE)),
        ),
        "our nonce": (system.initialize_nonce_account(ours), prepared(SYSTEM, NONCE)),
        "their nonce": (system.initialize_nonce_account(theirs), granted(SYSTEM, FRIEND, source=str(NONCE))),
        "upgrade nonce": (system.upgrade_nonce_account(upgrade), prepared(SYSTEM, NONCE)),
    }


def _token_transfers(program: str) -> Samples:
    moved = {"destination": str(FRIEND), "source": str(OURS), "asset": str(USDC), "decimals": 6}
    accounts = ((OURS, "w"), (USDC, ""), (FRIEND, "w"))
    fields = AMOUNT + b"\6"
    shared = call(program, b"\x0c" + fields, *accounts, (MULTISIG, ""), (PAYER, "s"), (THEM.pubkey(), "s"))
    return {
        f"{program} transfer": (
            transfer_checked(3, FRIEND, program=program),
            expected(Operation.TRANSFER, program, amount=3, **moved),
        ),
        f"{program} transfer of a multisignature": (
            shared,
            expected(Operation.TRANSFER, program, amount=2**64 - 1, **moved),
        ),
        f"{program} approve": (
            token(13, fields, (OURS, "w"), (USDC, ""), (FRIEND, ""), program=program),
            expected(Operation.ALLOWANCE, program, amount=2**64 - 1, **moved),
        ),
        f"{program} close": (
            token(9, b"", (OURS, "w"), (FRIEND, "w"), program=program),
            expected(Operation.TRANSFER, program, destination=str(FRIEND), source=str(OURS)),
        ),
    }


def _token_powers(program: str) -> Samples:
    ours = (OURS, "w")
    minted = {"destination": str(OURS), "asset": str(USDC), "amount": 2**64 - 1}
    frozen = expected(Operation.ADMIN, program, destination=str(OURS), asset=str(USDC))
    return {
        f"{program} set owner": (
            token(6, b"\2\1" + bytes(FRIEND), ours, program=program),
            granted(program, FRIEND, source=str(OURS)),
        ),
        f"{program} set nobody": (
            token(6, b"\3\0", ours, program=program),
            expected(Operation.ADMIN, program, destination=str(OURS)),
        ),
        f"{program} mint": (
            token(7, AMOUNT, (USDC, "w"), ours, program=program),
            expected(Operation.ADMIN, program, **minted),
        ),
        f"{program} mint checked": (
            token(14, AMOUNT + b"\6", (USDC, "w"), ours, program=program),
            expected(Operation.ADMIN, program, decimals=6, **minted),
        ),
        f"{program} freeze": (token(10, b"", ours, (USDC, ""), program=program), frozen),
        f"{program} thaw": (token(11, b"", ours, (USDC, ""), program=program), frozen),
    }


def _token_setups(program: str) -> Samples:
    opened = prepared(program, FRIEND, source=str(OURS), asset=str(USDC))
    ours, mint = (OURS, "w"), (USDC, "")
    return {
        f"{program} initialize": (call(program, b"\1", ours, mint, (FRIEND, ""), (RENT, "")), opened),
        f"{program} initialize 2": (call(program, b"\x10" + bytes(FRIEND), ours, mint, (RENT, "")), opened),
        f"{program} initialize 3": (call(program, b"\x12" + bytes(FRIEND), ours, mint), opened),
        f"{program} immutable owner": (call(program, b"\x16", ours), prepared(program, OURS)),
        f"{program} sync": (call(program, b"\x11", ours), prepared(program, OURS)),
        f"{program} revoke": (token(5, b"", ours, program=program), prepared(program, OURS)),
    }


def _others() -> Samples:
    fee = b"\x01" + (9).to_bytes(8, "little") + b"\6" + (1).to_bytes(8, "little")
    accounts = ((OURS, "w"), (USDC, ""), (FRIEND, "w"))
    moved = {"destination": str(FRIEND), "source": str(OURS), "asset": str(USDC), "decimals": 6}
    samples: Samples = {
        "transfer with fee": (
            token(26, fee, *accounts, program=TOKEN_2022),
            expected(Operation.TRANSFER, TOKEN_2022, amount=9, **moved),
        ),
        "recover": (_recover(), prepared(ASSOCIATED, PAYER, asset=str(key("lost")))),
        "memo": (call(MEMO, "Grüße".encode(), (PAYER, "s")), expected(Operation.MESSAGE, MEMO)),
        "old memo": (call(OLD_MEMO, b"hello"), expected(Operation.MESSAGE, OLD_MEMO)),
    }
    for program in (TOKEN, TOKEN_2022):
        effect = prepared(ASSOCIATED, FRIEND, asset=str(USDC), fee_max=RENT_MAX[program])
        samples[f"{program} associated"] = (create_associated(FRIEND, program=program, data=b"\0"), effect)
        samples[f"{program} associated idempotent"] = (create_associated(FRIEND, program=program), effect)
        samples[f"{program} associated of old"] = (
            create_associated(FRIEND, program=program, data=b"", rent=True),
            effect,
        )
    return samples


OLD_MEMO = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"


def _recover() -> Instruction:
    owner, lost = associated(PAYER), key("lost")
    accounts = [(associated(owner, lost), "w"), (lost, ""), (associated(PAYER, lost), "w"), (owner, ""), (USDC, "")]
    return call(ASSOCIATED, b"\2", *accounts, (PAYER, "sw"), (Pubkey.from_string(TOKEN), ""))


def samples() -> Samples:
    """Return every kind by name."""
    found = {**_transfers(), **_owners(), **_nonces(), **_others()}
    for program in (TOKEN, TOKEN_2022):
        found |= {**_token_transfers(program), **_token_powers(program), **_token_setups(program)}
    return found


SAMPLES = samples()
