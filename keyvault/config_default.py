"""The ``keyvault.toml`` of a new deployment, with a comment beside everything that its owner may want to change."""

import json
from dataclasses import dataclass

from keyvault.core import limits

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
key_transport = {key_transport}  # for ever; "none": keys stay, "kwp": they move, "vendor-cluster": the HSM copies

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
    key_transport: str = "none"


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
        key_transport=_quote(deployment.key_transport),
    )


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string; DEL alone must be escaped in TOML and is not in JSON.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _optional(key: str, value: str | None, comment: str) -> str:
    return f'# {key} = "..."  # {comment}' if value is None else f"{key} = {_quote(value)}"
