"""Hyperliquid's L1 actions: orders, cancels, leverage, transfers within the venue.

Parts: the action's JSON; the vault or sub-account as an address in lower case, or empty; expiresAfter in milliseconds
as decimal text, or empty; ``mainnet`` or ``testnet``.

connectionId = keccak256(msgpack(action) || nonce u64 || (00 | 01 vault) [|| 00 expiresAfter u64])
digest       = EIP-712 Agent(source, connectionId) in domain Exchange, version 1, chain 1337; source is a or b

(hyperliquid-dex/hyperliquid-python-sdk, utils/signing.py.) The order of members is part of the payload. The nonce is
the stamp's: it is used once per signer, and the venue takes it until two days after the time that it is. A client order
id is no slot: nothing public says that the venue refuses one that was used before.
"""

import json
import re

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import Signature
from keyvault.intents import msgpack, strict_json
from keyvault.intents.account import EVM_ALGORITHMS
from keyvault.intents.hyperliquid_actions import effects_of_action
from keyvault.intents.hyperliquid_shape import FIELD as FIELD  # the same place, whichever file refuses
from keyvault.intents.hyperliquid_shape import lower_address
from keyvault.intents.keccak import keccak256
from keyvault.intents.signature import r_s_parity
from keyvault.intents.strict_json import Value
from keyvault.intents.typed_hyperliquid import NETWORKS, NONCE_LIFE_MS, VENUE

_BINDS = frozenset({Bound.METHOD, Bound.BODY, Bound.ACCOUNT, Bound.CHAIN, Bound.NONCE, Bound.EXPIRY})
_PARTS = 4
_MILLIS = re.compile(rb"[1-9][0-9]{0,14}")
_V = 27
_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_DOMAIN = keccak256(_DOMAIN_TYPE + keccak256(b"Exchange") + keccak256(b"1") + (1337).to_bytes(32, "big") + bytes(32))
_AGENT_TYPE = keccak256(b"Agent(string source,bytes32 connectionId)")
_SOURCES = {b"mainnet": ("Mainnet", keccak256(b"a")), b"testnet": ("Testnet", keccak256(b"b"))}


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of an action, or raise Malformed."""
    action, vault, expires_after = _parts(payload)
    network, source = _SOURCES[payload.parts[3]]
    base = Effect(operation=Operation.OPAQUE, venue=VENUE, network=NETWORKS[network], source=vault)
    effects, completeness = effects_of_action(action, base)
    nonce = signer.stamp.nonce
    unused = nonce + NONCE_LIFE_MS
    return Intent(
        kind=payload.kind,
        algorithms=EVM_ALGORITHMS,
        signing_input=_digest(source, connection_id(action, nonce, vault, expires_after)),
        effects=effects,
        completeness=completeness,
        binds=_BINDS,
        expires_at=UnixMillis(unused if expires_after is None else min(unused, expires_after)),
        stamped=True,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the body to POST to ``/exchange``."""
    r, s, parity = r_s_parity(signature)
    action, vault, expires_after = _parts(payload)
    body = {
        "action": action,
        "nonce": signer.stamp.nonce,
        "signature": {"r": f"0x{r:064x}", "s": f"0x{s:064x}", "v": _V + parity},
        "vaultAddress": vault,
        "expiresAfter": expires_after,
    }
    return Output(path="/exchange", body=json.dumps(body, separators=(",", ":")))


def connection_id(action: Value, nonce: int, vault: str | None, expires_after: int | None) -> bytes:
    """Return the hash that stands for an action, its nonce, account and end."""
    account = b"\0" if vault is None else b"\1" + bytes.fromhex(vault[2:])
    end = b"" if expires_after is None else b"\0" + expires_after.to_bytes(8, "big")
    return keccak256(msgpack.encode(action, FIELD) + nonce.to_bytes(8, "big") + account + end)


def _digest(source: bytes, connection: bytes) -> bytes:
    return keccak256(b"\x19\x01" + _DOMAIN + keccak256(_AGENT_TYPE + source + connection))


def _parts(payload: Payload) -> tuple[dict[str, Value], str | None, int | None]:
    """Return action, vault and end."""
    if len(payload.parts) != _PARTS:
        raise Malformed(FIELD, f"has {len(payload.parts)} parts, must have 4: action, vault, expires after, network")
    action, vault, expires_after, network = payload.parts
    if network not in _SOURCES:
        raise Malformed(f"{FIELD}.network", "must be mainnet or testnet")
    if expires_after and not _MILLIS.fullmatch(expires_after):
        raise Malformed(f"{FIELD}.expires_after", "must be Unix time in milliseconds, or empty")
    value = strict_json.loads(action, FIELD)
    if not isinstance(value, dict):
        raise Malformed(FIELD, "the action must be a JSON object")
    return value, _vault(vault) if vault else None, int(expires_after) if expires_after else None


def _vault(vault: bytes) -> str:
    try:
        text = vault.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(f"{FIELD}.vault", "must be an address in lower case") from None
    return lower_address(text, f"{FIELD}.vault")
