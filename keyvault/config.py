"""``keyvault.toml``: how one server of one enclave is run, and nothing that changes what it may sign.

Rules:

- what is not known is an error: an unknown section or key is a mistake, never a comment;
- relative paths start at the file's own folder, so that a deployment can be moved;
- a secret is never in the file, only the path of the file that holds it, and that file is its owner's alone;
- who may do what is policy and stands in the ledger; no key here weakens a rule.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from keyvault.config_default import Deployment as Deployment
from keyvault.config_default import render_default as render_default
from keyvault.core import limits
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.core.ids import EnclaveName, parse_enclave_name, parse_principal
from keyvault.core.keys import KeyTransport
from keyvault.secretfile import check_secret_file

_LISTEN = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)

_URL = re.compile(r"https://[A-Za-z0-9.-]{1,253}(:(?P<port>[0-9]{1,5}))?(/[!\"$-~]*)?", re.ASCII)  # without fragment
_PORT_MAX = 65_535

NOTICE_KINDS = (
    "proposal.made",
    "proposal.approved",
    "proposal.rejected",
    "proposal.revoked",
    "proposal.vetoed",
    "proposal.executed",
    "proposal.expired",
    "freeze.set",
    "freeze.lifted",
    "charter.changed",
    "key.destroyed",
    "key.rotation-due",
)
"""What a webhook can be told. Kinds once given out are kept: receivers branch on them."""


class ConfigError(KeyvaultError):
    """The deployment is not usable as it stands; the text says what, where, and what to do."""


class LogFormat(StrEnum):
    """Who reads the log."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """What is worth a line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where to listen and with which identity. ``listen`` is host:port; port 0 takes any free one."""

    listen: str
    certificate: Path
    private_key: Path
    client_ca: Path
    trust_domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveConfig:
    """The enclave that is served and the file of its ledger."""

    name: EnclaveName
    database: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """The token and its worker processes. ``module`` is None where SoftHSM2 is to be found by itself."""

    module: Path | None
    label: str
    pin_file: Path
    softhsm_conf: Path | None
    workers: int
    lanes_per_worker: int
    deadline_ms: int
    key_transport: KeyTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """How the server speaks of itself."""

    format: LogFormat
    level: LogLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class HookConfig:
    """A webhook that is told of changes of power. ``kinds`` of NOTICE_KINDS; empty: all."""

    url: str
    secret_file: Path
    ca_file: Path | None
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One checked ``keyvault.toml``; every path is absolute."""

    server: ServerConfig
    enclave: EnclaveConfig
    token: TokenConfig
    log: LogConfig
    notify: tuple[HookConfig, ...] = ()


def load(path: Path) -> Config:
    """Return what the file says.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key that is unknown, missing or out of range.
        UnsafeFile: a secret file that it names is missing, or is not its owner's alone.
    """
    reader = _Reader(path)
    config = Config(
        server=_server(reader.section("server")),
        enclave=_enclave(reader.section("enclave")),
        token=_token(reader.section("token")),
        log=_log(reader.section("log", optional=True)),
        notify=tuple(map(_hook, reader.sections("notify", most=limits.HOOKS_MAX))),
    )
    reader.end()
    check_secret_file(config.server.private_key)
    check_secret_file(config.token.pin_file)
    for hook in config.notify:
        check_secret_file(hook.secret_file)
    return config


# Sections ---------------------------------------------------------------------------------------------------


def _server(section: "_Section") -> ServerConfig:
    server = ServerConfig(
        listen=section.checked("listen", "127.0.0.1:7443", _check_listen),
        certificate=section.path("certificate"),
        private_key=section.path("private_key"),
        client_ca=section.path("client_ca"),
        trust_domain=section.checked("trust_domain", None, _check_trust_domain),
    )
    section.end()
    return server


def _enclave(section: "_Section") -> EnclaveConfig:
    name = section.checked("name", None, parse_enclave_name)
    enclave = EnclaveConfig(name=EnclaveName(name), database=section.path("database"))
    section.end()
    return enclave


def _token(section: "_Section") -> TokenConfig:
    token = TokenConfig(
        module=section.optional_path("module"),
        label=section.checked("label", None, _check_label),
        pin_file=section.path("pin_file"),
        softhsm_conf=section.optional_path("softhsm_conf"),
        # One worker would make every crash of the module an outage.
        workers=section.whole("workers", 2, low=2, high=limits.TOKEN_WORKERS_MAX),
        lanes_per_worker=section.whole("lanes_per_worker", 1, low=1, high=limits.TOKEN_LANES_MAX),
        deadline_ms=section.whole(
            "deadline_ms",
            limits.TOKEN_DEADLINE_MS,
            low=limits.TOKEN_DEADLINE_MS_MIN,
            high=limits.TOKEN_DEADLINE_MS_MAX,
        ),
        key_transport=KeyTransport(section.choice("key_transport", KeyTransport.NONE, tuple(KeyTransport))),
    )
    section.end()
    return token


def _log(section: "_Section") -> LogConfig:
    log = LogConfig(
        format=LogFormat(section.choice("format", LogFormat.JSON, tuple(LogFormat))),
        level=LogLevel(section.choice("level", LogLevel.INFO, tuple(LogLevel))),
    )
    section.end()
    return log


def _hook(section: "_Section") -> HookConfig:
    hook = HookConfig(
        url=section.checked("url", None, _check_url),
        secret_file=section.path("secret_file"),
        ca_file=section.optional_path("ca_file"),
        kinds=section.choices("kinds", NOTICE_KINDS),
    )
    section.end()
    return hook


def _check_url(text: str) -> None:
    # The text itself is not quoted: receivers put secrets of their own into it.
    match = _URL.fullmatch(text)
    if match is None or len(text) > limits.HOOK_URL_CHARS_MAX:
        raise Malformed("url", "must be https://host[:port]/path, without user, password and fragment")
    if not 1 <= int(match["port"] or 1) <= _PORT_MAX:
        raise Malformed("url", f"must be https:// with a port from 1 to {_PORT_MAX}")


def _check_listen(text: str) -> None:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > _PORT_MAX:
        raise Malformed("listen", "must be host:port, as in 127.0.0.1:7443 or [::1]:7443")


def _check_trust_domain(text: str) -> None:
    try:
        parse_principal(f"spiffe://{text}/server/name")
    except Malformed:
        raise Malformed("trust_domain", "must be 1 to 128 characters of a-z 0-9 . -") from None


def _check_label(text: str) -> None:
    if not 1 <= len(text.encode()) <= 32:  # noqa: PLR2004  CK_TOKEN_INFO.label has 32 bytes
        raise Malformed("label", "must be 1 to 32 bytes: a PKCS#11 label has no more")


# Reading ----------------------------------------------------------------------------------------------------


class _Reader:
    """The file, its sections, and where in it a key stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.absolute().parent
        try:
            with path.open("rb") as file:
                data = file.read(limits.CONFIG_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); `keyvault init` makes a new one") from error
        if len(data) > limits.CONFIG_BYTES_MAX:
            raise ConfigError(f"{path}: is longer than {limits.CONFIG_BYTES_MAX} bytes; this is not a keyvault.toml")
        try:
            self.text = data.decode()
            self.document: dict[str, object] = tomllib.loads(self.text)
        except ValueError as error:
            raise ConfigError(f"{path}: is not valid TOML: {error}") from error
        self.known: set[str] = set()

    def section(self, name: str, *, optional: bool = False) -> "_Section":
        self.known.add(name)
        table = self.document.get(name, {} if optional else None)
        if table is None:
            raise ConfigError(f"{self.path}: the section [{name}] is missing; add it")
        if not isinstance(table, dict):
            raise ConfigError(f"{self.path}: {name} must be a section: [{name}]")
        return _Section(self, name, table)

    def sections(self, name: str, *, most: int) -> "list[_Section]":
        """Return the tables [[name]], in order; none is fine."""
        self.known.add(name)
        tables = self.document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigError(f"{self.path}: {name} must be tables: [[{name}]]")
        if len(tables) > most:
            raise ConfigError(f"{self.path}: {len(tables)} tables [[{name}]]; {most} is the most")
        return [_Section(self, name, table, number) for number, table in enumerate(tables)]

    def end(self) -> None:
        unknown = sorted(self.document.keys() - self.known)
        if unknown:
            where = self.line_of(r"\[\s*" + re.escape(unknown[0]) + r"\s*\]|" + re.escape(unknown[0]) + r"\s*=")
            known = ", ".join(f"[{name}]" for name in sorted(self.known))
            raise ConfigError(f"{self.path}{where}: {unknown[0]!r} is not known here; there are {known}")

    def line_of(self, pattern: str, *, start: int = 0, end: int | None = None) -> str:
        """Return ``:<line>`` of the first line that starts with the pattern, or nothing when it is not found."""
        match = re.compile(rf"^[ \t]*(?:{pattern})", re.MULTILINE).search(self.text, start, end or len(self.text))
        return "" if match is None else f":{self.text.count(chr(10), 0, match.start()) + 1}"


class _Section:
    """One table; each key is taken once, with its type checked, and what is left at the end is a mistake."""

    def __init__(self, reader: _Reader, name: str, table: dict[str, object], number: int | None = None) -> None:
        """``number`` counts the tables [[name]] from 0; None for a section that is there once."""
        self._reader = reader
        self._name = name
        self._number = number
        self._left = dict(table)
        self._known: list[str] = []

    def checked(self, key: str, default: str | None, check: Callable[[str], object]) -> str:
        """Return the text, once ``check`` did not raise Malformed."""
        value = self._take(key, default)
        if not isinstance(value, str):
            self._fail(key, "must be text in quotes")
        try:
            check(value)
        except Malformed as error:
            self._fail(key, error.problem)
        return value

    def path(self, key: str) -> Path:
        return self._reader.folder / self.checked(key, None, _check_path)

    def optional_path(self, key: str) -> Path | None:
        if key not in self._left:
            self._known.append(key)
            return None
        return self.path(key)

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        value = self._take(key, default)
        # bool is an int to Python, and never a number of anything to people.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._fail(key, f"must be a whole number from {low} to {high}")
        return value

    def choices(self, key: str, choices: tuple[str, ...]) -> frozenset[str]:
        """Return which of the choices are listed, at least one; empty if the key is left out."""
        if key not in self._left:
            self._known.append(key)
            return frozenset()
        values = self._take(key, None)
        if not isinstance(values, list) or not values or not all(value in choices for value in values):
            self._fail(key, "must be a list of some of " + ", ".join(f'"{choice}"' for choice in choices))
        return frozenset(values)

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or value not in choices:
            self._fail(key, "must be one of " + ", ".join(f'"{choice}"' for choice in choices))
        return value

    def end(self) -> None:
        if self._left:
            self._fail(min(self._left), "is not known here; there are " + ", ".join(self._known))

    def _take(self, key: str, default: object) -> object:
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is None:
            self._fail(key, "is missing; add it")
        return value

    def _fail(self, key: str, problem: str) -> NoReturn:
        raise ConfigError(f"{self._reader.path}{self._where(key)}: {self._name}.{key} {problem}")

    def _where(self, key: str) -> str:
        """Return the line of the key in this very table; for one of several tables without it, that of its head."""
        text = self._reader.text
        heads = [*re.finditer(rf"^[ \t]*\[+\s*{re.escape(self._name)}\s*\]", text, re.MULTILINE)]
        if len(heads) <= (self._number or 0):
            return ""
        head = heads[self._number or 0]
        follows = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, head.end())
        end = follows.start() if follows else len(text)
        where = self._reader.line_of(re.escape(key) + r"\s*=", start=head.end(), end=end)
        return where or ("" if self._number is None else self._reader.line_of(r"\[", start=head.start()))


def _check_path(text: str) -> None:
    if not text or "\0" in text:
        raise Malformed("path", "must be a path")
