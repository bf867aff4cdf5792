"""All known types of typed data at once: their hashes, eth-account as oracle, and noise."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Operation
from keyvault.intents.typed_data import _FAMILIES, parse
from tests.intents.building import digest_by_eth_account, text
from tests.intents.typed_building import SIGNER, base_of, document, read, refused
from tests.intents.typed_random import FAMILIES, random_document

KNOWN = {
    "Permit(address owner": "6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9",
    "Permit(address holder": "ea2aa0a1be11a07ed86d755c93467f4f82362b452371d1ba94d1715123511acb",
    "TransferWithAuthorization": "7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267",
    "ReceiveWithAuthorization": "d099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8",
    "CancelAuthorization": "158b0a9edf7a828aad02f63cd515c68ef2f50ba807396f6d12842833a1597429",
    "PermitSingle": "f3841cd1ff0085026a6327b620b67997ce40f282c88a8e905a7a5626e310f3d0",
    "PermitBatch(": "af1b0d30d2cab0380e68f0689007e3254993c596f2fdd0aaa7f4d04f79440863",
    "PermitTransferFrom": "939c21a48a8dbe3a9a2404a1d46691e4d39f6583d6ec6b35714604c986d80106",
    "PermitBatchTransferFrom": "fcf35f5ac6a2c28868dc44c302166470266239195f02b0ee408334829333b766",
    "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas": (
        "bb8310d486368db6bd6f849402fdd73ad53d316b5a4b2644ad6efe0f941286d8"
    ),
    "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 dataGas": (
        "14d461bc7412367e924637b363c7bf29b8f47e2f84869f4426e5633d8af47b20"
    ),
    "SafeMessage": "60b3cbf8b4a223d68d641b3b6ddf9a298e7f33710cf3d3a9d1146b5a6150fbca",
    "Order(address sellToken": "d5a25ba2e97094ad7d83dc28a6572da797d6b3e7fc6663bd93efb789fc17e489",
    "OrderCancellation(": "7b41b3a6e2b3cae020a3b2f9cdc997e0d420643957e7fea81747e984e47c88ec",
    "OrderCancellations(": "4c89efb91ae246f78d2fe68b47db2fa1444a121a4f2dc3fda7a5a408c2e3588e",
    "Order(uint256 salt,address maker,address signer,address taker": (
        "a852566c4e14d00869b6db0220888a9090a13eccdaea03713ff0a3d27bf9767c"
    ),
}


def test_well_known_type_hashes() -> None:
    """Type strings hash to the constants that the contracts have, and no two types share one."""
    assert len(_FAMILIES) == 64
    for start, digest in KNOWN.items():
        found = [key.hex() for key, family in _FAMILIES.items() if family.type_text.startswith(start)]
        assert found == [digest], start


@pytest.mark.parametrize("seed", range(8))
def test_every_known_message_signs_what_eth_account_signs(seed: int) -> None:
    """1,250 random messages of all known types have eth-account's digest, and effects that say whose they are."""
    chance = random.Random(seed)  # noqa: S311 - test data
    for index in range(1_250):
        value = random_document(FAMILIES[index % len(FAMILIES)], chance)
        intent = read(value)
        assert intent.signing_input == digest_by_eth_account(value), value
        base = base_of(value)
        assert 0 < len(intent.effects) <= limits.EFFECTS_MAX
        for effect in intent.effects:
            assert effect.primary_type == base["primary_type"]
            assert effect.type_hash == base["type_hash"]
            assert effect.contract == base["contract"] or intent.slot
            assert effect.operation is not Operation.TYPED_DATA
        opaque = any(effect.operation in (Operation.OPAQUE, Operation.CALL) for effect in intent.effects)
        assert not (opaque and intent.completeness is Completeness.FULL)


def test_equal_documents_have_equal_intents() -> None:
    """The meaning depends on the document only, not on what was read before, and spelling does not change it."""
    chance = random.Random(8)  # noqa: S311 - test data
    for family in FAMILIES:
        value = random_document(family, chance)
        spelt = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        assert read(value) == read(value) == parse(text(spelt), SIGNER)


def test_a_name_alone_is_nothing() -> None:
    """A type of a known name with other members is typed data that is not known."""
    value = document("Permit(address owner,address spender,uint256 value)", {"owner": "0x" + "11" * 20})
    value["message"] |= {"spender": "0x" + "22" * 20, "value": 1}
    intent = read(value)
    assert [effect.operation for effect in intent.effects] == [Operation.TYPED_DATA]
    assert intent.completeness is Completeness.PARTIAL


def test_effects_are_bounded() -> None:
    """A batch with more effects than the limit is refused, not cut."""
    details = {"token": "0x" + "11" * 20, "amount": 1, "expiration": 1, "nonce": 1}
    text_of_batch = next(f.type_text for f in FAMILIES if f.type_text.startswith("PermitBatch("))
    message: dict[str, Any] = {"details": [details] * 64, "spender": "0x" + "22" * 20, "sigDeadline": 1}
    assert len(read(document(text_of_batch, message)).effects) == 64
    message["details"] = [details] * 65
    assert refused(text(json.dumps(document(text_of_batch, message)))) == ("message", "has more than 64 effects")


_CHANCE = random.Random(9)  # noqa: S311 - test data
SAMPLES = [json.dumps(random_document(family, _CHANCE)) for family in FAMILIES]
TOKENS = ["", "0", "1", "-1", '"', '"0"', "null", "true", "{}", "[]", ",", "}", "\\u0000", "0x", "ff", " ", "Testnet"]


@settings(max_examples=500)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(TOKENS)), min_size=1, max_size=3),
)
def test_mutations_are_malformed_or_mean_what_eth_account_reads(
    sample: str, changes: list[tuple[float, int, str]]
) -> None:
    """A changed document is refused, or has the digest that eth-account computes of it: nothing else happens."""
    for place, length, token in changes:
        start = int(place * len(sample))
        sample = sample[:start] + token + sample[start + length :]
    try:
        intent = parse(text(sample), SIGNER)
    except Malformed:
        return
    assert intent.signing_input == digest_by_eth_account(json.loads(sample))


@given(st.binary(max_size=200))
def test_bytes_are_malformed(data: bytes) -> None:
    """Arbitrary bytes never crash the decoder."""
    refused(text(data))
