"""Output scripts: each kind is matched to the byte."""

from collections.abc import Callable

import pytest

from keyvault.intents import bitcoin_scripts as scripts
from tests.intents.bitcoin_building import OTHER, OWN, P2TR, multisig, p2pkh, p2sh, p2wpkh, p2wsh, point

Kind = Callable[[bytes], bool]
KINDS: tuple[Kind, ...] = (
    scripts.is_p2pkh,
    scripts.is_p2sh,
    scripts.is_p2wpkh,
    scripts.is_p2wsh,
    scripts.is_p2tr,
)


def kinds_of(script: bytes) -> list[Kind]:
    return [kind for kind in KINDS if kind(script)]


@pytest.mark.parametrize(
    ("kind", "script", "fixed"),
    [
        (scripts.is_p2pkh, p2pkh(OWN), [0, 1, 2, 23, 24]),
        (scripts.is_p2sh, p2sh(OWN), [0, 1, 22]),
        (scripts.is_p2wpkh, p2wpkh(OWN), [0, 1]),
        (scripts.is_p2wsh, p2wsh(OWN), [0, 1]),
        (scripts.is_p2tr, P2TR, [0, 1]),
    ],
)
def test_a_script_of_a_kind_is_so_to_the_byte(kind: Kind, script: bytes, fixed: list[int]) -> None:
    """A script is of one kind; with a byte more or less, or another where the kind has a fixed one, it is of none."""
    assert kinds_of(script) == [kind]
    assert kinds_of(script[:9] + b"\0" + script[9:]) == kinds_of(script[:9] + script[10:]) == []
    for at in fixed:
        assert kinds_of(script[:at] + bytes((script[at] ^ 0x80,)) + script[at + 1 :]) == []


def test_witness_programs_are_those_of_bip_141() -> None:
    """Version 0 to 16, then a push of 2 to 40 bytes that ends the script; and nothing else."""
    for first in range(256):
        for size in range(45):
            script = bytes((first, size)) + bytes(size)
            right = (first == 0 or 0x51 <= first <= 0x60) and 2 <= size <= 40
            assert scripts.is_witness_program(script) == right
            assert not scripts.is_witness_program(script + b"\0")
    assert not scripts.is_witness_program(b"")


def test_a_multisig_has_one_to_sixteen_keys() -> None:
    """Of m-of-n scripts those with up to 16 keys, each needed or not, are read."""
    keys = [point(bytes((number,)) * 32) for number in range(1, 18)]
    for count in (1, 2, 15, 16):
        for needed in (1, count):
            assert scripts.multisig_keys(multisig(needed, *keys[:count])) == tuple(keys[:count])
    assert scripts.multisig_keys(multisig(1, *keys)) == scripts.multisig_keys(multisig(1)) == ()
    assert scripts.multisig_keys(multisig(1, OTHER)[:-1]) == ()
