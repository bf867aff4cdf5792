"""``keyvault.toml``: how one server of one enclave is run, and nothing that changes what it may sign.

Rules:

- what is not known is an error: an unknown section or key is a mistake, never a comment;
- relative paths start at the file's own folder, so that a deployment can be moved;
- a secret is never in the file, only the path of the file that holds it, and that file is its owner's alone;
- who may do what is policy and stands in the ledger; no key here weakens a rule.
"""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from keyvault.core import limits
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.core.ids import EnclaveName, parse_enclave_name, parse_principal
from keyvault.secretfile import check_secret_file

_LISTEN = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """How the server speaks of itself."""

    format: LogFormat
    level: LogLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One checked ``keyvault.toml``; every path is absolute."""

    server: ServerConfig
    enclave: EnclaveConfig
    token: TokenConfig
    log: LogConfig


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
    )
    reader.end()
    check_secret_file(config.server.private_key)
    check_secret_file(config.token.pin_file)
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


def _check_listen(text: str) -> None:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:  # noqa: PLR2004  the highest TCP port
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

    def end(self) -> None:
        unknown = sorted(self.document.keys() - self.known)
        if unknown:
            where = self.line_of(r"\[\s*" + re.escape(unknown[0]) + r"\s*\]|" + re.escape(unknown[0]) + r"\s*=")
            known = ", ".join(f"[{name}]" for name in sorted(self.known))
            raise ConfigError(f"{self.path}{where}: {unknown[0]!r} is not known here; there are {known}")

    def line_of(self, pattern: str, *, after: int = 0) -> str:
        """Return ``:<line>`` of the first line that starts with the pattern, or nothing when it is not found."""
        match = re.compile(rf"^[ \t]*(?:{pattern})", re.MULTILINE).search(self.text, after)
        return "" if match is None else f":{self.text.count(chr(10), 0, match.start()) + 1}"


class _Section:
    """One table; each key is taken once, with its type checked, and what is left at the end is a mistake."""

    def __init__(self, reader: _Reader, name: str, table: dict[str, object]) -> None:
        self._reader = reader
        self._name = name
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
        start = re.search(rf"^[ \t]*\[\s*{re.escape(self._name)}\s*\]", self._reader.text, re.MULTILINE)
        where = self._reader.line_of(re.escape(key) + r"\s*=", after=start.end()) if start else ""
        raise ConfigError(f"{self._reader.path}{where}: {self._name}.{key} {problem}")


def _check_path(text: str) -> None:
    if not text or "\0" in text:
        raise Malformed("path", "must be a path")


# Writing ----------------------------------------------------------------------------------------------------

_TEMPLATE = """\
# keyvault: one enclave on this machine. Relative paths start at this file's folder.
# What may be signed does not stand here: that is policy, and it is in the ledger (keyvault policy show).

[server]
listen = {listen}
certificate = {certificate}
private_key = {private_key}  # mode 0600
client_ca = {client_ca}  # only certificates from here are let in
trust_domain = {trust_domain}  # callers are spiffe://<trust_domain>/<role>/<name>

[enclave]
name = {enclave}
database = {database}  # the ledger: back it up, never edit it

[token]
{module}
label = {label}
pin_file = {pin_file}  # mode 0600, read by the workers only
{softhsm_conf}
workers = 2  # processes; one may crash or hang while the others sign
lanes_per_worker = 1  # PKCS#11 sessions of each worker
deadline_ms = {deadline_ms}  # a worker that takes longer is killed and replaced

[log]
format = "json"  # or "console"
level = "info"  # "debug", "info", "warning" or "error"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What ``keyvault init`` decides; paths are as they shall stand in the file."""

    enclave: str
    trust_domain: str
    label: str
    certificate: str
    private_key: str
    client_ca: str
    database: str
    pin_file: str
    softhsm_conf: str | None = None
    module: str | None = None
    listen: str = "127.0.0.1:7443"


def render_default(deployment: Deployment) -> str:
    """Return the commented ``keyvault.toml`` of a new deployment; ``load`` reads back the same values."""
    return _TEMPLATE.format(
        listen=_quote(deployment.listen),
        certificate=_quote(deployment.certificate),
        private_key=_quote(deployment.private_key),
        client_ca=_quote(deployment.client_ca),
        trust_domain=_quote(deployment.trust_domain),
        enclave=_quote(deployment.enclave),
        database=_quote(deployment.database),
        label=_quote(deployment.label),
        pin_file=_quote(deployment.pin_file),
        module=_optional("module", deployment.module, "SoftHSM2 is found by itself"),
        softhsm_conf=_optional("softhsm_conf", deployment.softhsm_conf, "SoftHSM2's own configuration"),
        deadline_ms=limits.TOKEN_DEADLINE_MS,
    )


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string; DEL alone must be escaped in TOML and is not in JSON.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _optional(key: str, value: str | None, comment: str) -> str:
    return f'# {key} = "..."  # {comment}' if value is None else f"{key} = {_quote(value)}"
