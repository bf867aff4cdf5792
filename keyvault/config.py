"""``keyvault.toml``: how one server of one enclave is run, and nothing that changes what it may sign.

Rules:

- what is not known is an error: an unknown section or key is a mistake, never a comment;
- relative paths start at the file's own folder, so that a deployment can be moved;
- a secret is never in the file, only the path of the file that holds it, and that file is its owner's alone;
- who may do what is policy and stands in the ledger; no key here weakens a rule.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from keyvault.config_default import Deployment as Deployment
from keyvault.config_default import render_default as render_default
from keyvault.config_reader import ConfigError as ConfigError
from keyvault.config_reader import Reader, Section
from keyvault.core import limits
from keyvault.core.addresses import is_address
from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, Principal, parse_enclave_name, parse_principal, role_of
from keyvault.core.keys import KeyTransport
from keyvault.secretfile import check_secret_file

_LISTEN = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)

_URL = re.compile(r"https://[A-Za-z0-9.-]{1,253}(:(?P<port>[0-9]{1,5}))?(/[!\"$-~]*)?", re.ASCII)  # without fragment
_PORT_MAX = 65_535
_PLACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)

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
    """The enclave that is served and the file of its ledger: with PostgreSQL, of this node's own copy."""

    name: EnclaveName
    database: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresConfig:
    """The database that the nodes of the enclave share.

    ``conninfo`` is libpq's, without secrets. ``address`` is where clients and the other nodes call this one.
    ``synchronous``: an append is acknowledged by a second server, or refused.
    """

    conninfo: str
    address: str
    synchronous: bool
    nodes: frozenset[Principal]
    """The other nodes, as their certificates name them: they may pass calls on to this one, and it to them."""
    peers: tuple[str, ...] = ()
    """Where the other nodes are called: each is asked what it has seen of the ledger before this one leads."""
    place: str = ""
    """Where this node runs, for spreading the enclaves of one database over places; empty: it takes no part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Another node of a pair, as its certificate names it, and where it is called."""

    node: Principal
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairConfig:
    """A node of a pair. ``address`` is where clients and its peers call it. Who leads stands in the ledger.

    ``log_vkey`` is the file of the ledger's log key: a machine without a ledger takes this one, and no other.
    """

    address: str
    log_vkey: Path
    peers: tuple[PeerConfig, ...]


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
    postgres: PostgresConfig | None = None
    pair: PairConfig | None = None
    notify: tuple[HookConfig, ...] = ()


def load(path: Path) -> Config:
    """Return what the file says.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key that is unknown, missing or out of range.
        UnsafeFile: a secret file that it names is missing, or is not its owner's alone.
    """
    reader = Reader(path)
    config = Config(
        server=_server(reader.section("server")),
        enclave=_enclave(reader.section("enclave")),
        token=_token(reader.section("token")),
        log=_log(reader.section("log", optional=True)),
        postgres=_postgres(reader),
        pair=_pair(reader),
        notify=tuple(map(_hook, reader.sections("notify", most=limits.HOOKS_MAX))),
    )
    reader.end()
    if config.postgres is not None and config.pair is not None:
        raise ConfigError(f"{path}: [postgres] and [pair] exclude each other: an enclave is kept in one way")
    check_secret_file(config.server.private_key)
    check_secret_file(config.token.pin_file)
    for hook in config.notify:
        check_secret_file(hook.secret_file)
    return config


# Sections ---------------------------------------------------------------------------------------------------


def _server(section: "Section") -> ServerConfig:
    server = ServerConfig(
        listen=section.checked("listen", "127.0.0.1:7443", _check_listen),
        certificate=section.path("certificate"),
        private_key=section.path("private_key"),
        client_ca=section.path("client_ca"),
        trust_domain=section.checked("trust_domain", None, _check_trust_domain),
    )
    section.end()
    return server


def _enclave(section: "Section") -> EnclaveConfig:
    name = section.checked("name", None, parse_enclave_name)
    enclave = EnclaveConfig(name=EnclaveName(name), database=section.path("database"))
    section.end()
    return enclave


def _postgres(reader: "Reader") -> PostgresConfig | None:
    section = reader.optional_section("postgres")
    if section is None:
        return None
    postgres = PostgresConfig(
        conninfo=section.checked("conninfo", None, _check_not_empty),
        address=section.checked("address", None, _check_address),
        synchronous=section.flag("synchronous", default=True),
        nodes=frozenset(section.principals("nodes")),
        peers=tuple(section.texts("peers", _check_address, most=limits.NODES_MAX)),
        place=section.checked("place", "", _check_place),
    )
    section.end()
    return postgres


def _pair(reader: "Reader") -> PairConfig | None:
    section = reader.optional_section("pair")
    peers = tuple(map(_peer, reader.sections("peer", most=limits.PAIR_FOLLOWERS_MAX)))
    if section is None:
        if peers:
            raise ConfigError(f"{reader.path}: [[peer]] belongs to a [pair], which is missing")
        return None
    pair = PairConfig(
        address=section.checked("address", None, _check_address), log_vkey=section.path("log_vkey"), peers=peers
    )
    section.end()
    for what, values in (("node", [each.node for each in peers]), ("address", [each.address for each in peers])):
        if len(set(values)) != len(values):  # one machine would confirm for two
            raise ConfigError(f"{reader.path}: two [[peer]] have the same {what}")
    return pair


def _peer(section: "Section") -> PeerConfig:
    peer = PeerConfig(
        node=Principal(section.checked("node", None, _check_node)),
        address=section.checked("address", None, _check_address),
    )
    section.end()
    return peer


def _token(section: "Section") -> TokenConfig:
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


def _log(section: "Section") -> LogConfig:
    log = LogConfig(
        format=LogFormat(section.choice("format", LogFormat.JSON, tuple(LogFormat))),
        level=LogLevel(section.choice("level", LogLevel.INFO, tuple(LogLevel))),
    )
    section.end()
    return log


def _hook(section: "Section") -> HookConfig:
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


def _check_address(text: str) -> None:
    if not is_address(text) or text.rpartition(":")[0] in {"0.0.0.0", "[::]"}:  # noqa: S104  refused
        raise Malformed("address", "must be the host:port that clients of this node use, as in kv-1.example.com:7443")


def _check_node(text: str) -> None:
    if role_of(parse_principal(text)) != "node":
        raise Malformed("node", "must be spiffe://<trust-domain>/node/<name>, as in the certificate of that node")


def _check_place(text: str) -> None:
    if text and (len(text) > limits.PLACE_CHARS_MAX or not _PLACE.fullmatch(text)):
        raise Malformed("place", f"must be 1 to {limits.PLACE_CHARS_MAX} characters of a-z 0-9 -, as in rack-1")


def _check_not_empty(text: str) -> None:
    if not text:
        raise Malformed("conninfo", "must not be empty")


def _check_trust_domain(text: str) -> None:
    try:
        parse_principal(f"spiffe://{text}/server/name")
    except Malformed:
        raise Malformed("trust_domain", "must be 1 to 128 characters of a-z 0-9 . -") from None


def _check_label(text: str) -> None:
    if not 1 <= len(text.encode()) <= 32:  # noqa: PLR2004  CK_TOKEN_INFO.label has 32 bytes
        raise Malformed("label", "must be 1 to 32 bytes: a PKCS#11 label has no more")
