import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from keyvault.cli import pki
from keyvault.config import NOTICE_KINDS, ConfigError, HookConfig
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.notify import Hook, NotGenuine, Notice, Notifier, Timing, parse_secret, signed_headers, verify
from keyvault.secretfile import write_secret_file

ROOT = Path(__file__).resolve().parent.parent
KEY = b"k" * 32
NOTICE = Notice(
    kind="proposal.made",
    enclave="hot",
    subject="enclaves/hot/proposals/ab",
    summary="Create key hot-1.",
    at_ms=1_790_000_000_000,
    ledger_index=7,
    loud=False,
)


@dataclass
class Receiver:
    """An HTTPS server on loopback that answers with the statuses it is given, then 200."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    hold: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    drips: bool = False
    """Answers a header byte at a time, for ever."""
    floods: bool = False
    """Answers 200 and more headers than anybody reads."""
    port: int = 0
    folder: Path = Path()

    def config(self, *, ca: Path | None = None, kinds: frozenset[str] = frozenset()) -> HookConfig:
        return HookConfig(
            url=f"https://localhost:{self.port}/hook?x=1",
            secret_file=self.folder / "hook.secret",
            ca_file=ca or self.folder / "ca" / "ca.crt",
            kinds=kinds,
        )


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.arrived.set()
            receiver.hold.wait(10)
            try:
                self._answer()
            except OSError:
                self.close_connection = True  # the other side left, as it should

        def _answer(self) -> None:
            if receiver.drips or receiver.floods:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(1_000 if receiver.floods else 0):
                self.wfile.write(b"x: " + b"y" * 1_000 + b"\r\n")
            while receiver.drips and not receiver.stopped.wait(0.01):
                self.wfile.write(b"x")
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("location", f"https://localhost:{receiver.port}/elsewhere")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hook")
    pki.create_authority(folder / "ca", "test.local")
    pki.issue(folder / "ca", "server", "hook", folder / "certs", hosts=("localhost",))
    secret = folder / "hook.secret"
    secret.touch(mode=0o600)
    secret.write_text(f"whsec_{base64.b64encode(KEY).decode()}\n")
    return folder


@pytest.fixture
def receiver(authority: Path) -> Iterator[Receiver]:
    made = Receiver(folder=authority)
    made.hold.set()
    server = HTTPServer(("127.0.0.1", 0), _handler(made))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "certs" / "server-hook.crt", authority / "certs" / "server-hook.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.hold.set()
    made.stopped.set()
    server.shutdown()
    server.server_close()


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


def _hook(config: HookConfig, *, timeout_s: float = 5) -> Hook:
    return Hook(config, Timing(now_s=lambda: 1_790_000_000.5, sleep=_at_once, timeout_s=timeout_s))


async def _delivered(hook: Hook, *notices: Notice, patience_s: float = 10) -> None:
    hook.start()
    for notice in notices:
        hook.offer(notice)
    await hook.close(patience_s)


async def test_a_delivery_is_signed_as_standard_webhooks_says(receiver: Receiver) -> None:
    """Anybody with the secret checks id, time and body by one HMAC, and the body holds the notice and nothing else."""
    hook = _hook(receiver.config())
    await _delivered(hook, NOTICE)
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-timestamp"] == "1790000000"
    assert json.loads(body) == {
        "kind": "proposal.made",
        "enclave": "hot",
        "subject": "enclaves/hot/proposals/ab",
        "summary": "Create key hot-1.",
        "at_ms": 1_790_000_000_000,
        "ledger_index": 7,
        "loud": False,
    }
    assert (hook.sent, hook.failed, hook.dropped) == (1, 0, 0)


def test_the_published_example_of_standard_webhooks() -> None:
    """The signature of the specification's own example comes out."""
    secret = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_it_is_tried_again_under_the_same_id(receiver: Receiver) -> None:
    """After errors the same notice comes again with the same id, so that a receiver can know it."""
    receiver.statuses = [500, 503]
    hook = _hook(receiver.config())
    await _delivered(hook, NOTICE)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert (len(receiver.got), hook.sent, hook.failed) == (3, 1, 0)


async def test_it_gives_up_and_goes_on(receiver: Receiver) -> None:
    """A notice that is refused too often is lost, and the next one still goes out."""
    receiver.statuses = [500] * limits.HOOK_TRIES_MAX
    hook = _hook(receiver.config())
    await _delivered(hook, NOTICE, NOTICE)
    assert (hook.sent, hook.failed) == (1, 1)


async def test_gone_is_gone(receiver: Receiver) -> None:
    """A receiver that says 410 is told nothing more."""
    receiver.statuses = [410]
    hook = _hook(receiver.config())
    await _delivered(hook, NOTICE, NOTICE)
    hook.offer(NOTICE)
    assert (len(receiver.got), hook.sent, hook.failed, hook.dropped) == (1, 0, 1, 1)


async def test_no_redirect_is_followed(receiver: Receiver) -> None:
    """A redirect is an answer that is not a yes, and nobody goes where it points."""
    receiver.statuses = [302] * limits.HOOK_TRIES_MAX
    hook = _hook(receiver.config())
    await _delivered(hook, NOTICE)
    assert (len(receiver.got), hook.failed) == (limits.HOOK_TRIES_MAX, 1)


async def test_a_receiver_with_another_certificate_gets_nothing(receiver: Receiver, tmp_path: Path) -> None:
    """Whoever cannot show a certificate of the expected authority sees no notice."""
    pki.create_authority(tmp_path / "other", "test.local")
    hook = _hook(receiver.config(ca=tmp_path / "other" / "ca.crt"))
    await _delivered(hook, NOTICE)
    assert (receiver.got, hook.sent, hook.failed) == ([], 0, 1)


async def test_a_hung_receiver_costs_one_timeout(receiver: Receiver) -> None:
    """A receiver that never answers is given up, and closing does not wait for it."""
    receiver.hold.clear()
    hook = _hook(receiver.config(), timeout_s=0.05)
    await _delivered(hook, NOTICE, patience_s=5)
    assert (hook.sent, hook.failed) == (0, 1)


async def test_a_dripping_receiver_costs_one_timeout(receiver: Receiver) -> None:
    """A receiver that answers a byte at a time is given up like one that is silent, and is no success."""
    receiver.drips = True
    hook = _hook(receiver.config(), timeout_s=0.2)
    await _delivered(hook, NOTICE, patience_s=10)
    assert (hook.sent, hook.failed) == (0, 1)


async def test_an_endless_answer_is_not_read(receiver: Receiver) -> None:
    """A receiver that answers with a megabyte of headers is given up, and the next notice still goes out."""
    receiver.floods = True
    hook = _hook(receiver.config())
    hook.start()
    hook.offer(NOTICE)
    await asyncio.wait_for(hook._idle.wait(), 10)
    receiver.floods = False
    hook.offer(NOTICE)
    await hook.close(10)
    assert (hook.sent, hook.failed) == (1, 1)


async def test_closing_does_not_wait_for_a_hung_receiver(receiver: Receiver) -> None:
    """What did not go out in time counts as lost: the one under way as failed, those behind it as dropped."""
    receiver.hold.clear()
    hook = _hook(receiver.config(), timeout_s=60)
    hook.start()
    for _ in range(3):
        hook.offer(NOTICE)
    await asyncio.to_thread(receiver.arrived.wait, 10)
    await asyncio.wait_for(hook.close(0), 1)
    assert (hook.sent, hook.failed, hook.dropped) == (0, 1, 2)


def test_a_receiver_does_not_keep_the_process(receiver: Receiver) -> None:
    """A process whose receiver drips for ever ends all the same: a server must be able to start anew."""
    receiver.drips = True
    program = f"""
import asyncio
from pathlib import Path
from keyvault.config import HookConfig
from keyvault.notify import Hook, Notice, Timing
config = HookConfig(
    url="https://localhost:{receiver.port}/", secret_file=Path({str(receiver.folder / "hook.secret")!r}),
    ca_file=Path({str(receiver.folder / "ca" / "ca.crt")!r}), kinds=frozenset(),
)
async def main():
    hook = Hook(config, Timing(timeout_s=60))
    hook.start()
    hook.offer(Notice(kind="", enclave="", subject="", summary="", at_ms=0, ledger_index=0, loud=False))
    await asyncio.to_thread(input)
    await hook.close(0)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            assert receiver.arrived.wait(30)
            process.communicate(b"\n", timeout=10)
        finally:
            process.kill()
    assert process.returncode == 0


async def test_old_notices_are_not_sent(receiver: Receiver) -> None:
    """After an outage what is no news any more is dropped, and what is fresh goes out."""
    now_s = 0.0
    hook = Hook(receiver.config(), Timing(monotonic=lambda: now_s, sleep=_at_once))
    hook.offer(NOTICE)
    now_s = limits.HOOK_AGE_MS_MAX / 1000 + 1
    await _delivered(hook, replace(NOTICE, ledger_index=8))
    assert [json.loads(body)["ledger_index"] for _, body in receiver.got] == [8]
    assert (hook.sent, hook.failed, hook.dropped) == (1, 0, 1)


async def test_a_full_queue_drops_the_oldest(receiver: Receiver) -> None:
    """Nothing waits for a receiver: what does not fit is counted, the oldest first."""
    hook = _hook(receiver.config())
    for _ in range(limits.HOOK_QUEUE_MAX + 3):
        hook.offer(NOTICE)
    assert hook.dropped == 3
    await hook.close(0)
    assert receiver.got == []


async def test_only_wanted_kinds_are_told(receiver: Receiver) -> None:
    """A hook with kinds hears of these only, and the server counts over all hooks."""
    hooks = [_hook(receiver.config(kinds=frozenset({"freeze.set"}))), _hook(receiver.config())]
    notifier = Notifier(hooks)
    notifier.start()
    notifier.offer([NOTICE])
    await notifier.close()
    assert notifier.counts() == {"sent": 1, "failed": 0, "dropped": 0}


def test_a_receiver_verifies() -> None:
    """A delivery is accepted as it was sent and within five minutes; any other byte, time, id or secret is not."""
    headers, body = signed_headers(KEY, "msg_1", 1_000_000, b"{}"), b"{}"
    verify(KEY, {name.title(): value for name, value in headers.items()}, body, now_s=1_000_299.5)
    verify(KEY, headers | {"webhook-signature": f"v1,AAAA v2,x {headers['webhook-signature']}"}, body, now_s=999_701)
    wrong: list[tuple[bytes, dict[str, str], bytes, float]] = [
        (KEY, headers, b"{ }", 1_000_000),
        (KEY, headers, body, 1_000_301),
        (KEY, headers, body, 999_699),
        (b"x" * 32, headers, body, 1_000_000),
        (KEY, headers | {"webhook-id": "msg_2"}, body, 1_000_000),
        (KEY, headers | {"webhook-timestamp": "1000001"}, body, 1_000_000),
        (KEY, headers | {"webhook-timestamp": "now"}, body, 1_000_000),
        (KEY, headers | {"webhook-signature": "é"}, body, 1_000_000),
        (KEY, {}, body, 1_000_000),
    ]
    for secret, given, sent, now_s in wrong:
        with pytest.raises(NotGenuine):
            verify(secret, given, sent, now_s=now_s)


def test_the_documented_check_works() -> None:
    """The lines that helm/README.md gives to receivers accept what is genuine and refuse what is not."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "helm/README.md").read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(block, names)  # noqa: S102  it is our own document
    genuine = names["genuine"]
    assert callable(genuine)
    secret = f"whsec_{base64.b64encode(KEY).decode()}"
    headers = signed_headers(KEY, "msg_1", 1_000_000, b"{}")
    assert genuine(secret, headers, b"{}", 1_000_000)
    assert not genuine(secret, headers, b"{ }", 1_000_000)
    assert not genuine(secret, headers, b"{}", 1_000_301)


def test_every_kind_that_is_told_can_be_asked_for() -> None:
    """The kinds that a hook may name are those that the server tells."""
    told = re.findall(r'"((?:proposal|freeze|charter|key)\.[a-z-]+)"', (ROOT / "keyvault/announce.py").read_text())
    assert set(told) == set(NOTICE_KINDS)


def test_files_that_cannot_be_used_are_named(receiver: Receiver, tmp_path: Path) -> None:
    """A secret or authority that cannot be used is an error that says which file, and never quotes it."""
    write_secret_file(tmp_path / "word", b"hunter2")
    (tmp_path / "no.crt").write_text("hello")
    usable = receiver.config()
    with pytest.raises(ConfigError, match=r"word: must hold whsec_ ") as raised:
        Hook(replace(usable, secret_file=tmp_path / "word"))
    assert "hunter2" not in str(raised.value)
    for name in ("no.crt", "missing.crt"):
        with pytest.raises(ConfigError, match=f"{name}: cannot be used"):
            Hook(replace(usable, ca_file=tmp_path / name))


@pytest.mark.parametrize("text", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_???"])
def test_a_secret_has_its_form(text: str) -> None:
    """What is no secret of Standard Webhooks is refused, and never quoted."""
    with pytest.raises(Malformed) as raised:
        parse_secret(text)
    assert "c2hvcnQ" not in str(raised.value)
