"""Whether a database's schema is what our migrations make, in everything that runs in an append, or makes it last.

Who may change tables can have his own code run inside an append, by a trigger, a rule, a CHECK, a default, a generated
column, a policy, an index over an expression, a setting of a function; and one call of set_config in it makes a commit
that waits for no standby. Or he takes the waiting away: a table that is not logged, a child that is read along.

So the catalog is written out, a line for each object, and compared with ``migrations/schema.txt``, which a test holds
against what the migrations make. (A copy in the database could be changed together with the schema.) One line more,
less, or other is refused: nothing is listed as forbidden, whatever is not ours is.

Expressions come as PostgreSQL writes them. Its versions differ in spaces and in parentheses, so these do not count, but
every word, operator and constant does: a call that is not ours cannot hide in parentheses. Names are resolved with
``search_path`` set to pg_catalog, so what is not PostgreSQL's own shows its schema. Tried with 15, 16, 17 and 18.

Not compared: what costs no more than time (fillfactor, statistics, table spaces, indexes' options), and who may read.
Not seen: code that a superuser loads into the server, what he edits in pg_catalog, or writes to the disk. What is
noticed even then stands in law 6 of ``store``.
"""

import re
from importlib import resources
from typing import Any, Final

import psycopg

from keyvault.core.errors import Corrupt

_TOKENS: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|[^\s\w()]""")
_SHOWN_CHARS_MAX: Final = 200

_CATALOG: Final = """
WITH ours AS (
    SELECT oid, relname AS name, relkind AS kind, relpersistence, relrowsecurity, relforcerowsecurity, relacl, relowner,
        relam
    FROM pg_class WHERE relnamespace = 'keyvault'::regnamespace
)
SELECT format('relation %s: %s %s of %s, %s%s%s', name,
    CASE relpersistence WHEN 'p' THEN 'logged' ELSE 'not logged' END,
    CASE kind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' ELSE kind::text END, pg_get_userbyid(relowner),
    coalesce((SELECT amname FROM pg_am WHERE pg_am.oid = relam), 'no storage'),
    CASE WHEN relrowsecurity THEN ', row security' ELSE '' END,
    CASE WHEN relforcerowsecurity THEN ', row security forced' ELSE '' END)
    FROM ours
UNION ALL
SELECT format('column %s.%s: %s%s%s%s%s', name, attname, format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN ' not null' ELSE '' END,
    CASE WHEN attidentity <> '' THEN ' identity' ELSE '' END,
    CASE WHEN attgenerated <> '' THEN ' generated ' || pg_get_expr(adbin, adrelid)
        WHEN adbin IS NOT NULL THEN ' default ' || pg_get_expr(adbin, adrelid) ELSE '' END,
    CASE WHEN attcollation <> typcollation THEN ' collated ' || attcollation::regcollation::text ELSE '' END)
    FROM ours JOIN pg_attribute ON attrelid = ours.oid JOIN pg_type ON pg_type.oid = atttypid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND kind <> 'i'
UNION ALL
SELECT format('constraint %s on %s: %s', conname, name, pg_get_constraintdef(pg_constraint.oid))
    FROM ours JOIN pg_constraint ON conrelid = ours.oid
    WHERE contype <> 'n'  -- NOT NULL has a name from 18 on; columns say it
UNION ALL
SELECT format('index %s: %s%s', name, pg_get_indexdef(indexrelid),
    CASE WHEN indisvalid AND indisready AND indislive THEN '' ELSE ', switched off' END)
    FROM ours JOIN pg_index ON indexrelid = ours.oid
UNION ALL
SELECT format('trigger %s on %s: %s, %s', tgname, name, pg_get_triggerdef(pg_trigger.oid),
    CASE tgenabled WHEN 'O' THEN 'on' WHEN 'D' THEN 'switched off' ELSE 'on ' || tgenabled::text END)
    FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE NOT tgisinternal
UNION ALL
SELECT format('trigger of a foreign key on %s, %s %s of %s: %s', name, tgfoid::regproc, tgtype,
    coalesce((SELECT conname FROM pg_constraint WHERE pg_constraint.oid = tgconstraint), 'none'),
    CASE tgenabled WHEN 'O' THEN 'on' WHEN 'D' THEN 'switched off' ELSE 'on ' || tgenabled::text END)
    FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE tgisinternal
UNION ALL
SELECT format('rule %s on %s: %s', rulename, name, pg_get_ruledef(pg_rewrite.oid))
    FROM ours JOIN pg_rewrite ON ev_class = ours.oid
UNION ALL
SELECT format('policy %s on %s: %s %s', polname, name, pg_get_expr(polqual, polrelid),
    pg_get_expr(polwithcheck, polrelid))
    FROM ours JOIN pg_policy ON polrelid = ours.oid
UNION ALL
SELECT format('inheritance of %s by %s: yes', inhparent::regclass, inhrelid::regclass)
    FROM pg_inherits WHERE inhparent IN (SELECT oid FROM ours) OR inhrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT format('right of %s on %s: %s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, name,
    privilege_type)
    FROM (
        SELECT name, relowner, relacl AS acl FROM ours
        UNION ALL SELECT name, relowner, attacl FROM ours JOIN pg_attribute ON attrelid = ours.oid
    ) AS granted, aclexplode(acl) WHERE grantee <> relowner AND privilege_type <> 'SELECT'
UNION ALL
SELECT format('function %s(%s): returns %s, %s, %s%s, %s%s%s, set %s, of %s, body %s', proname,
    pg_get_function_arguments(pg_proc.oid), pg_get_function_result(pg_proc.oid), lanname,
    CASE provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable' ELSE 'immutable' END,
    CASE WHEN prosecdef THEN ', security definer' ELSE '' END,
    CASE WHEN prokind = 'f' THEN 'function' ELSE prokind::text END,
    CASE WHEN proisstrict THEN ', strict' ELSE '' END, CASE WHEN prosupport <> 0 THEN ', with support' ELSE '' END,
    coalesce(array_to_string(proconfig, ' and '), 'nothing'), pg_get_userbyid(proowner),
    left(encode(sha256(convert_to(prosrc, 'UTF8')), 'hex'), 32))
    FROM pg_proc JOIN pg_language ON pg_language.oid = prolang WHERE pronamespace = 'keyvault'::regnamespace
UNION ALL
-- Those of extensions are let through, pgaudit's among them: who can install one can load code as well.
SELECT format('event trigger %s: %s, %s', evtname, evtevent, evtfoid::regproc)
    FROM pg_event_trigger WHERE evtenabled <> 'D' AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_event_trigger'::regclass AND objid = pg_event_trigger.oid AND deptype = 'e')
UNION ALL
SELECT 'setting session_replication_role: ' || current_setting('session_replication_role')
"""


def written_out(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    """Return what stands in the database, a line for each object, sorted."""
    return sorted(str(line).replace("\n", " ") for (line,) in connection.execute(_CATALOG.encode()))


def check_schema(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Raise Corrupt with the first object that is missing, changed, or not ours."""
    text = resources.files("keyvault.store.postgres.migrations").joinpath("schema.txt").read_text(encoding="utf-8")
    ours, theirs = _by_name(text.splitlines()), _by_name(written_out(connection))
    for name in sorted(ours.keys() | theirs.keys()):
        is_there, expected = theirs.get(name), ours.get(name)
        if is_there is not None and expected is not None and _tokens(is_there) == _tokens(expected):
            continue
        raise Corrupt(f"somebody changed the database: the {name!a:.120} {_difference(is_there, expected)}")


def _difference(is_there: str | None, expected: str | None) -> str:
    if is_there is None:
        return "is missing"
    told = f"{is_there!a:.{_SHOWN_CHARS_MAX}}"
    return f"is not ours: {told}" if expected is None else f"is not as keyvault made it: {told}"


def _by_name(lines: list[str]) -> dict[str, str]:
    """Return what each object is, by kind and name; two of one name are one thing, unlike any other."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, what = line.partition(": ")
        found[name] = f"{found[name]}; {what}" if name in found else what
    return found


def _tokens(text: str) -> list[str]:
    return _TOKENS.findall(text)
