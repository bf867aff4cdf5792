"""The SDK's README: its code runs as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import keyvault.client
from tests.deployment import new_deployment, served

README = Path(keyvault.client.__file__).with_name("README.md")


DRIVER = """
from dataclasses import replace
from keyvault.core.policy_kinds import KIND_OPERATIONS
from tests.every_format import ACCOUNT, EVERYTHING, authorization, psbt, sign_doc, solana_message

with Client("localhost:7443", admin, enclave="hot") as client:
    both = {"signer": alice, "approvers": [bob]}
    client.create_key("sol-1", KeyAlgorithm.ED25519, **both)
    client.create_key("binance-2", KeyAlgorithm.ED25519, **both)
    client.create_key("coinbase-1", KeyAlgorithm.P256, **both)
    client.import_hmac_key("okx-1", b"an exchange's API secret", **both)
    client.import_hmac_key("binance-1", b"another exchange's", **both)
    client.import_hmac_key("kraken-1", b"a third one's", algorithm=KeyAlgorithm.HMAC_SHA512, **both)
    keys = frozenset({"treasury"})
    notes = replace(
        EVERYTHING,
        id="notes",
        keys=keys,
        kinds=frozenset({PayloadKind.TYPED_DATA}),
        operations=frozenset({Operation.TYPED_DATA}),
        chains=frozenset({1}),
        destinations=frozenset({"0x" + "35" * 20}),
        primary_types=frozenset({"Note"}),
    )
    others = EVERYTHING.operations - {Operation.CALL, Operation.TYPED_DATA, Operation.OPAQUE}

    def everything(key, *prefixes):
        kinds = frozenset(kind for kind in PayloadKind if kind.startswith(prefixes))
        operations = others & frozenset(one for kind in kinds for one in KIND_OPERATIONS[kind])
        return replace(EVERYTHING, id=f"{key}-{prefixes[0]}", keys=frozenset({key}), kinds=kinds, operations=operations)

    rules = (
        notes,
        everything("treasury", "evm", "hyperliquid", "cosmos"),
        replace(everything("treasury", "bitcoin"), chains=frozenset({"bitcoin-regtest"})),
        everything("sol-1", "solana"),
        everything("binance-2", "binance-ws-logon"),
        everything("coinbase-1", "coinbase"),
        everything("okx-1", "okx"),
        everything("binance-1", "binance-rest", "binance-ws"),
        everything("kraken-1", "kraken"),
    )
    version = client.get_policy().policy.version + 1
    client.settled(client.publish_policy(Policy(version=version, rules=rules, limits=()), **both))
    treasury, sol = (client.get_key(name).public_key for name in ("treasury", "sol-1"))
with Client("localhost:7443", bot, enclave="hot") as client:
    sign_for_chains(client, authorization(), solana_message(sol), sign_doc(treasury), psbt(treasury, 2))
    sign_for_venues(client, ACCOUNT)
    ask_first(client, unsigned)
"""
"""What the README leaves to its reader: keys, a policy, and what a wallet made."""


def test_examples_run(tmp_path: Path) -> None:
    """The README's code, copied as it stands but for the port, signs every format, is refused, and streams."""
    with served(new_deployment(tmp_path / "desk")) as desk:
        code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)) + DRIVER
        done = subprocess.run(
            (sys.executable, "-c", code.replace("localhost:7443", f"localhost:{desk.port}")),
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(keyvault.__path__[0]).parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    words = [line.split()[0] for line in lines]
    assert words[:4] == ["policy:", "send", "refused:", "100"]
    assert words[4:11] == ["typed", "personal", "delegates", "solana", "cosmos", "bitcoin", "post"]
    assert lines[9].startswith("bitcoin [0, 1] 02000000")
    assert words[11] == "/api/v5/trade/order"
    assert json.loads(lines[12])["method"] == "order.place"
    assert json.loads(lines[13])["method"] == "session.logon"
    assert lines[14].split()[0] in ("allow", "deny")
    assert lines[0] == "policy: EXECUTED"
    assert "NO_RULE_ALLOWS" in lines[2]
