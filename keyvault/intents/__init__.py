"""Payloads: strict decoders from bytes to meaning, one file per format. Pure.

Each decoder reads the bytes, states the facts and what is to be signed, and accepts nothing that could be read in a
second way. No caller's digest is trusted: hashes are computed here. What a signature does not bind (method and path at
an exchange) is not believed: the worst meaning is the meaning.
"""

from keyvault.intents.address import ethereum_address, parse_address
from keyvault.intents.describe import describe
from keyvault.intents.formats import ANYBODY, assemble, checked, described, parse
from keyvault.intents.keccak import keccak256

__all__ = [
    "ANYBODY",
    "assemble",
    "checked",
    "describe",
    "described",
    "ethereum_address",
    "keccak256",
    "parse",
    "parse_address",
]
