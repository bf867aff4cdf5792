"""Keys as commands show them: to people, and as JSON."""

import time

from keyvault.cli.output import JsonValue, fields, hexed, printable, time_text
from keyvault.client.results import Key
from keyvault.core import limits
from keyvault.core.keys import KeyState
from keyvault.core.statements import Action, Statement

_TOLD_OTHERWISE = ("_pem", "_ms", "primary", "sealed", "proved_by", "on_every_token")


def is_due(key: Key) -> bool:
    """Return whether the version that signs is due for rotation, or will be soon."""
    now = time.time_ns() // 1_000_000
    soon = key.rotate_by is not None and key.rotate_by - limits.ROTATION_NOTICE_MS <= now
    return soon and key.primary and key.state is KeyState.ACTIVE


def due_text(key: Key) -> str:
    """Return what happens to the version next, and when."""
    if key.destroy_at is not None:
        return f"destroyed {time_text(key.destroy_at)[:10]}"
    if key.rotate_by is not None and key.state is KeyState.ACTIVE:
        return f"rotate by {time_text(key.rotate_by)[:10]}"
    return ""


def key_text(key: Key) -> str:
    """Return the key as people read it."""
    document = key_document(key)
    pairs = [(name, str(value)) for name, value in document.items() if not name.endswith(_TOLD_OTHERWISE)]
    return fields(
        [*pairs, ("created", time_text(key.created_at)), ("due", due_text(key)), ("tokens", tokens_text(key))]
    )


def tokens_text(key: Key) -> str:
    """Return in how many tokens the version is, as far as they showed it; nothing where keys stay."""
    if not key.sealed and not key.proved_by:
        return ""
    names = ", ".join(printable(name.rpartition("/")[2]) for name in key.proved_by) or "none that joined yet"
    spare = " (every token that joined has it)" if key.on_every_token else ""
    return f"{names}{spare}{'' if key.sealed else '; IT CANNOT MOVE to others'}"


def staying(said: Statement) -> str:
    """Return what members should know of a key that is asked for and will not move: it takes the others' lead away."""
    remedy = ""
    if said.action is Action.KEY_CREATE:
        remedy = f" If it is to move, veto this, and ask with {_ALLOW}"
    return (
        f"WARNING: key {said['key']} WILL STAY IN THE TOKEN THAT MAKES IT, which wraps no such keys. {_STAYS}{remedy}"
    )


def stays(key: Key) -> str:
    """Return the same of a version that was made and cannot move."""
    return (
        f"WARNING: key {key.key} version {key.version} CANNOT LEAVE THE TOKEN THAT MADE IT. {_STAYS} If it is to move,"
        f" disable it (keyvault key disable {key.key}), and make another one with {_ALLOW}"
    )


_STAYS = (
    "While it is active no node but that token's can lead, so nothing takes over when that node goes; with the token"
    " the key is lost."
)
_ALLOW = "--plaintext-transport: its seed is then in clear in a worker's memory for a moment."


def key_document(key: Key) -> dict[str, JsonValue]:
    """Return the key as JSON."""
    return {
        "key": key.key,
        "version": key.version,
        "name": key.name,
        "primary": key.primary,
        "algorithm": key.algorithm.value,
        "state": key.state.value,
        "provenance": key.provenance.value,
        "public_key": hexed(key.public_key) if key.public_key else "",
        "public_key_pem": key.public_key_pem,
        "ethereum_address": key.ethereum_address,
        "create_time_ms": key.created_at,
        "rotate_by_ms": key.rotate_by,
        "destroy_at_ms": key.destroy_at,
        "sealed": key.sealed,
        "proved_by": list(key.proved_by),
        "on_every_token": key.on_every_token,
    }


def identity(key: Key) -> str:
    """Return what others know the key by: its address, or its public key."""
    return key.ethereum_address or (hexed(key.public_key) if key.public_key else "")
