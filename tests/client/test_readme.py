"""The SDK's README: its code runs as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import grpc

import keyvault.client
from keyvault.client import payloads
from keyvault.client.verify import Asked
from keyvault.core import limits
from keyvault.core.ids import EnclaveName
from keyvault.rpc.server import OPTIONS
from keyvault.v1 import signing_pb2_grpc
from tests.client.several import leads, three
from tests.deployment import new_deployment, served

README = Path(keyvault.client.__file__).with_name("README.md")


DRIVER = """
from dataclasses import replace
from keyvault.core.policy_kinds import KIND_OPERATIONS
from tests.every_format import ACCOUNT, EVERYTHING, authorization, psbt, sign_doc, solana_message

sign_anywhere(unsigned)
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
    assert words[:5] == ["policy:", "send", "refused:", "100", "whoever"]
    assert words[5:12] == ["typed", "personal", "delegates", "solana", "cosmos", "bitcoin", "post"]
    assert lines[10].startswith("bitcoin [0, 1] 02000000")
    assert words[12] == "/api/v5/trade/order"
    assert json.loads(lines[13])["method"] == "order.place"
    assert json.loads(lines[14])["method"] == "session.logon"
    assert lines[15].split()[0] in ("allow", "deny")
    assert lines[0] == "policy: EXECUTED"
    assert "NO_RULE_ALLOWS" in lines[2]


async def test_settings_for_other_languages(tmp_path: Path) -> None:
    """By the README's service config gRPC alone finds the leader among three, with the same bytes in each attempt."""
    (config,) = re.findall(r"```json\n(.*?)```", README.read_text(), re.DOTALL)
    options = (
        ("grpc.service_config", config),
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.use_local_subchannel_pool", 1),
    )
    async with three(tmp_path) as servers:
        servers[0].standing_by = servers[1].standing_by = leads(servers[2])
        target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        request = Asked.of(EnclaveName("hot"), "eth", payloads.raw_digest(b"d" * 32), "order-1").to_proto()
        async with grpc.aio.secure_channel(target, servers[0].credentials.for_channel(), options=options) as channel:
            stub = signing_pb2_grpc.SigningServiceStub(channel)
            for _ in range(6):
                assert (await stub.Sign(request, timeout=10)).request_id == "order-1"
    assert len(servers[2].requests) == 6
    assert servers[0].requests or servers[1].requests
    assert len({each for server in servers for each in server.requests}) == 1


def test_settings_are_those_of_the_server() -> None:
    """What the README says that the server permits, it permits, and our own client pings no more often."""
    text = " ".join(README.read_text().split())
    permitted_ms = dict(OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"]
    assert f"The server permits a ping every {permitted_ms // 1000} s, without calls, too" in text
    assert permitted_ms <= limits.CLIENT_KEEPALIVE_MS == 20_000
    assert dict(OPTIONS)["grpc.keepalive_permit_without_calls"] == 1
    assert f"{limits.CLIENT_ADDRESSES_MAX} at most" in text
    assert f"up to {limits.CLIENT_RETRY_MS_MIN} ms at first and {limits.CLIENT_FAILOVER_PAUSE_MS_MAX} ms later" in text
    attempts = (limits.CLIENT_FAILOVER_ATTEMPT_MS // 1000, limits.CLIENT_ATTEMPT_MS // 1000)
    assert "`attempt_deadline_s` is {} s with several addresses ({} s with one)".format(*attempts) in text
