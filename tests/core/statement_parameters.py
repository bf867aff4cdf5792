"""Parameters of every action, as a statement could have them."""

from keyvault.core.statements import Action
from tests.worlds import BOT

HASH = "0a" * 32
PARAMETERS: dict[Action, dict[str, str]] = {
    Action.KEY_CREATE: {
        "key": "eth-hot",
        "algorithm": "P256",
        "initial": "PRE_ACTIVE",
        "cryptoperiod_days": "90",
        "rotation": "propose",
    },
    Action.KEY_IMPORT: {
        "key": "venue",
        "algorithm": "HMAC_SHA256",
        "initial": "ACTIVE",
        "cryptoperiod_days": "0",
        "rotation": "warn",
        "wrapped_sha256": HASH,
    },
    Action.KEY_ROTATE: {"key": "eth-hot", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""},
    Action.KEY_ENABLE: {"key": "eth-hot", "version": "1"},
    Action.KEY_DISABLE: {"key": "eth-hot", "version": "1"},
    Action.KEY_DESTROY: {"key": "eth-hot", "version": "1", "after_days": "30"},
    Action.KEY_KEEP: {"key": "eth-hot", "version": "1"},
    Action.POLICY_PUBLISH: {"policy_sha256": HASH, "version": "2", "replay_sha256": "0c" * 32},
    Action.CHARTER_CHANGE: {"charter_sha256": HASH, "version": "2"},
    Action.BREAK_GLASS: {"charter_sha256": HASH, "version": "2", "reason": "carol lost her key"},
    Action.FREEZE: {"scope": "principal", "name": BOT},
    Action.THAW: {"scope": "enclave", "name": ""},
    Action.CEREMONY_STEP: {"ceremony": "root-2026", "step": "3", "record_sha256": HASH},
    Action.LEAVE_QUARANTINE: {
        "incarnation": "2",
        "position": "40",
        "lost_incarnation": "1",
        "lost_epoch": "7",
        "lost_position": "57",
        "lost_root": HASH,
        "reason": "the disk of the server and its mirror are gone",
    },
    Action.SIGN: {
        "key": "eth-hot",
        "key_version": "1",
        "algorithm": "SECP256K1",
        "public_key": "04" + "0b" * 64,
        "request_id": "r-1",
        "kind": "raw-digest",
        "payload_sha256": HASH,
        "facts_sha256": HASH,
        "words_sha256": HASH,
        "quorum": "2 of risk; 1 of owners",
    },
    Action.TOKEN_JOIN: {"node": "spiffe://t/node/k", "transport_key_sha256": HASH, "strategy": "kwp", "reason": "new"},
    Action.TOKEN_LEAVE: {"node": "spiffe://t/node/k", "reason": "the machine is gone"},
    Action.PAIR_SET: {
        "leader": "spiffe://t/node/kv-1",
        "followers": "spiffe://t/node/kv-2 spiffe://t/node/kv-3",
        "epoch": "7",
        "stands": "yes",
        "position": "57",
        "decided_at_ms": "1790000000000",
        "reason": "the other machine is gone",
    },
}
