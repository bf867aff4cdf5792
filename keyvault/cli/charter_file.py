"""Charters as people write them: YAML to ``core.charter.Charter`` and back.

A member's key is PEM, a line of OpenSSH (``ssh-ed25519 AAAA...``), or ``file: alice.pub`` beside the charter's file.
``format_charter`` writes OpenSSH lines, so that a charter is one file. All problems of form are reported at once, each
with its line and column; whether the charter can rule is ``core.charter.check_charter``'s to say, and said here, too.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from keyvault.cli.policy_units import parse_whole
from keyvault.cli.yaml_nodes import Bounds, Problems, Table, compose, meant, pairs, scalar, table, unique
from keyvault.client.credentials import read_small
from keyvault.client.public_key import kind_of, parse_public_key, ssh_blob
from keyvault.core import limits
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold, check_charter
from keyvault.core.errors import KeyvaultError, Malformed, Refused
from keyvault.core.ids import MemberName, parse_group_name, parse_member_name, parse_principal
from keyvault.core.quorum import Quorum, group_names, parse_quorum, quorum_text
from keyvault.core.windows import window_text

_BOUNDS = Bounds(what="charter", bytes_max=limits.CHARTER_FILE_BYTES_MAX, depth_max=limits.CHARTER_FILE_DEPTH_MAX)
_FIELDS = ("version", "members", "groups", "thresholds")
_MEMBER_FIELDS = ("name", "roles", "keys", "principals")
_THRESHOLD_FIELDS = ("quorum", "delay")
_DUTIES = tuple(duty.value for duty in Duty)
_DELAY = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_INLINE = ("-----BEGIN ", "ssh-", "ecdsa-", "sk-")
_WRAP_CHARS = 100


class CharterFileError(KeyvaultError):
    """The file is not a charter. ``problems`` are all that were found: ``name:line:column: sentence``."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_charter(path: Path) -> Charter:
    """Return the charter in a file. Raises CharterFileError or OSError."""
    with path.open("rb") as file:
        data = file.read(limits.CHARTER_FILE_BYTES_MAX + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CharterFileError((f"{path}: is not UTF-8 at byte {error.start}",)) from None
    return parse_charter(text, name=str(path), folder=path.parent)


def parse_charter(text: str, *, name: str, folder: Path) -> Charter:
    """Return a charter that keeps all laws, or raise CharterFileError with every problem.

    ``name`` is the file's, ``folder`` where the files of keys are looked for.
    """
    problems = Problems(name)
    node = compose(text, problems, _BOUNDS)
    charter = None if node is None else _charter(node, folder, problems)
    if charter is not None and not problems.found:
        try:
            check_charter(charter)
        except (Refused, Malformed) as error:
            problems.add(None, f"this charter cannot rule: {error}")
    if charter is None or problems.found:
        raise CharterFileError(problems.lines())
    return charter


def parse_delay(text: str) -> int:
    """Return milliseconds from ``90s``, ``24h`` or ``3d``; or raise Malformed."""
    match = _DELAY.fullmatch(text)
    if match is None:
        raise Malformed("delay", f"{text[:80]!r} is not a length of time: write 30m, 24h or 3d, or leave it out")
    delay_ms = int(match[1]) * _UNIT_MS[match[2]]
    if delay_ms > limits.DELAY_MS_MAX:
        raise Malformed("delay", f"{text} is longer than {window_text(limits.DELAY_MS_MAX)}")
    return delay_ms


# Reading --------------------------------------------------------------------------------------------------------


def _charter(node: yaml.Node, folder: Path, problems: Problems) -> Charter:
    """Return what could be read; problems tell the rest."""
    top = table("a charter", node, _FIELDS, problems)
    version = top.read("version", _version, needed="version: 1, or one more than the charter in force has")
    nodes = top.items("members", needed="members, each with name, roles and keys")
    members = [_member(each, folder, problems) for each in nodes]
    _check_once(nodes, members, problems)
    groups = _groups(top, frozenset(member.name for member in members), problems)
    return Charter(
        version=version or 1,
        members=tuple(members),
        groups=groups,
        thresholds=_thresholds(top, frozenset(group.name for group in groups), problems),
    )


def _version(text: str) -> int:
    return parse_whole(text, least=1, most=2**32 - 1)


def _member(node: yaml.Node, folder: Path, problems: Problems) -> Member:
    fields = table("a member", node, _MEMBER_FIELDS, problems)
    keys = [_key(each, folder, problems) for each in fields.items("keys", needed="keys: [{file: alice.pub}]")]
    return Member(
        name=fields.read("name", parse_member_name, needed="name: alice") or MemberName(""),
        roles=frozenset(fields.words("roles", _role, needed="roles: [admin], [approver] or [auditor]")),
        public_keys=tuple(key for key in keys if key is not None),
        principals=frozenset(fields.words("principals", parse_principal)),
    )


def _role(text: str) -> Role:
    if text not in list(Role):
        raise Malformed("role", f"unknown role {text[:80]!r}{meant(text, tuple(Role))}")
    return Role(text)


def _key(node: yaml.Node, folder: Path, problems: Problems) -> bytes | None:
    if isinstance(node, yaml.MappingNode):
        return table("a key", node, ("file",), problems).read(
            "file", lambda text: _key_file(folder / text), needed="file: alice.pub"
        )
    return scalar("keys", node, _key_text, problems)


def _key_file(path: Path) -> bytes:
    try:
        return parse_public_key(read_small(path), str(path))
    except OSError as error:
        raise Malformed("keys", f"{path} cannot be read ({error.strerror})") from None
    except Malformed as malformed:
        raise Malformed("keys", f"{path} {malformed.problem}") from None


def _key_text(text: str) -> bytes:
    if not text.lstrip().startswith(_INLINE):
        raise Malformed("keys", f"{text[:40]!r} is neither PEM nor an OpenSSH line; a file is {{file: {text[:40]}}}")
    return parse_public_key(text.encode(), "key")


def _check_once(nodes: tuple[yaml.Node, ...], members: list[Member], problems: Problems) -> None:
    """Note who stands twice and which key has two owners, each at its place."""
    names: set[str] = set()
    owners: dict[bytes, str] = {}
    for node, member in zip(nodes, members, strict=True):
        if member.name and member.name in names:
            problems.add(node.start_mark, f"member {member.name} stands twice")
        names.add(member.name)
        for key in member.public_keys:
            if key in owners:
                problems.add(
                    node.start_mark, f"a key of {member.name} is {owners[key]}'s already: a person counts once"
                )
            owners.setdefault(key, member.name)


def _groups(top: Table, members: frozenset[MemberName], problems: Problems) -> tuple[Group, ...]:
    node = top.values.get("groups")
    if node is None:
        problems.add(top.start, "groups is missing: add groups: {admins: [alice, bob]}")
        return ()
    found: list[Group] = []
    for key, value in pairs("groups", node, problems, "a table like {admins: [alice, bob]}"):
        name = scalar("group", key, parse_group_name, problems)
        named = _named(key.value, value, members, problems)
        if name is not None:
            found.append(Group(name=name, members=named))
    return tuple(found)


def _named(group: str, node: yaml.Node, members: frozenset[MemberName], problems: Problems) -> frozenset[MemberName]:
    if not isinstance(node, yaml.SequenceNode):
        problems.add(node.start_mark, f"group {group[:80]} must be a list of members like [alice, bob]")
        return frozenset()

    def known(text: str) -> MemberName:
        name = parse_member_name(text)
        if name not in members:
            raise Malformed("group", f"{name} is not a member of this charter")
        return name

    return frozenset(unique(f"group {group[:80]}", tuple(node.value), known, problems))


def _thresholds(top: Table, groups: frozenset[str], problems: Problems) -> tuple[Threshold, ...]:
    node = top.values.get("thresholds")
    if node is None:
        problems.add(top.start, "thresholds is missing: add thresholds: {charter: 2 of admins, freeze: 1 of admins}")
        return ()
    found = []
    for key, value in pairs("thresholds", node, problems, "a table like {charter: 2 of admins}"):
        if key.value not in _DUTIES:
            problems.add(key.start_mark, f"unknown duty {key.value[:80]!r}{meant(key.value, _DUTIES)}")
            continue
        threshold = _threshold(Duty(key.value), value, problems)
        if threshold is not None:
            _check_groups(value, threshold, groups, problems)
            found.append(threshold)
    return tuple(found)


def _threshold(duty: Duty, node: yaml.Node, problems: Problems) -> Threshold | None:
    delay: int | None = None
    quorum: Quorum | None
    if isinstance(node, yaml.MappingNode):
        fields = table(f"the threshold of {duty}", node, _THRESHOLD_FIELDS, problems)
        quorum = fields.read("quorum", parse_quorum, needed="quorum: 2 of admins")
        delay = fields.read("delay", parse_delay)
    else:
        quorum = scalar(duty.value, node, parse_quorum, problems)
    return None if quorum is None else Threshold(duty=duty, quorum=quorum, delay_ms=delay or 0)


def _check_groups(node: yaml.Node, threshold: Threshold, groups: frozenset[str], problems: Problems) -> None:
    for name in sorted(group_names(threshold.quorum) - groups):
        problems.add(node.start_mark, f"{threshold.duty}: there is no group {name}{meant(name, tuple(sorted(groups)))}")


# Writing --------------------------------------------------------------------------------------------------------


def format_charter(charter: Charter) -> str:
    """Return the charter as YAML that ``parse_charter`` reads back as the same charter."""
    lines = [f"version: {charter.version}", "members:"]
    for member in charter.members:
        lines += _member_lines(member)
    lines.append("groups:")
    for group in charter.groups:
        lines += _list_lines(f"  {_word(group.name)}", sorted(group.members), indent=4)
    lines.append("thresholds:")
    lines += [f"  {each.duty}: {_threshold_yaml(each)}" for each in charter.thresholds]
    return "\n".join(lines) + "\n"


def threshold_text(threshold: Threshold) -> str:
    """Return a threshold in words: ``2 of risk, then waits 24h``."""
    quorum = quorum_text(threshold.quorum)
    return f"{quorum}, then waits {window_text(threshold.delay_ms)}" if threshold.delay_ms else quorum


def _threshold_yaml(threshold: Threshold) -> str:
    quorum = quorum_text(threshold.quorum)
    return f"{{quorum: {quorum}, delay: {window_text(threshold.delay_ms)}}}" if threshold.delay_ms else quorum


def key_line(public_key: bytes) -> str:
    """Return a key as a line of OpenSSH, without a comment."""
    return f"{kind_of(public_key)} {base64.b64encode(ssh_blob(public_key)).decode('ascii')}"


def _member_lines(member: Member) -> Iterator[str]:
    yield f"  - name: {_word(member.name)}"
    yield f"    roles: [{', '.join(sorted(member.roles))}]"
    yield "    keys:"
    yield from (f"      - {key_line(key)}" for key in member.public_keys)
    if member.principals:
        yield "    principals:"
        yield from (f"      - {principal}" for principal in sorted(member.principals))


def _list_lines(name: str, values: list[MemberName], *, indent: int) -> Iterator[str]:
    words = [_word(value) for value in values]
    line = f"{name}: [{', '.join(words)}]"
    if len(line) <= _WRAP_CHARS:
        yield line
        return
    yield f"{name}:"
    yield from (f"{' ' * indent}- {word}" for word in words)


def _word(text: str) -> str:
    """Return a name so that any YAML reader takes it for text."""
    return json.dumps(text) if text in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"} else text
