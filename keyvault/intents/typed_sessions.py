"""Sign-ins by typed data: whoever holds the signature acts for the key without asking it again.

Polymarket  ClobAuth in domain ClobAuthDomain: makes the API credentials of an address. The domain has no contract
            (Polymarket/py-clob-client, signing/eip712.py)
dYdX        dYdX(string action): the private key of the dYdX chain account is made from the signature itself, so the
            signature is a key. Domains are {name} or {name, chainId} (dydxprotocol/v4-web, "dYdX Chain Onboarding")
"""

from dataclasses import replace
from typing import Final

from keyvault.core.intent import Bound, Completeness, Operation
from keyvault.intents.typed_message import Family, Meaning, Message

POLYMARKET: Final = "polymarket"
_CLOB_DOMAIN = frozenset({"name", "version", "chainId"})
_DYDX_DOMAINS = frozenset({frozenset({"name"}), frozenset({"name", "chainId"})})


def _clob_auth(message: Message) -> Meaning:
    """Every domain, not only ClobAuthDomain: a session is the worst that this type can mean."""
    effect = replace(
        message.base,
        operation=Operation.SESSION,
        venue=POLYMARKET,
        source=message.facts.address("address"),
        fee_max=None,
    )
    return Meaning(effects=(effect,), completeness=Completeness.FULL, binds=frozenset({Bound.ACCOUNT, Bound.NONCE}))


def _onboarding(message: Message) -> Meaning:
    """Every action and domain: what can be made of a signature does not depend on what it says."""
    effect = replace(message.base, operation=Operation.KEY_GRANT, venue="dydx", fee_max=None)
    return Meaning(effects=(effect,), completeness=Completeness.FULL, binds=frozenset())


FAMILIES: Final = (
    Family(
        type_text="ClobAuth(address address,string timestamp,uint256 nonce,string message)",
        read=_clob_auth,
        domains=frozenset({_CLOB_DOMAIN}),
    ),
    Family(type_text="dYdX(string action)", read=_onboarding, domains=_DYDX_DOMAINS),
    Family(type_text="dYdX(string action,string onlySignOn)", read=_onboarding, domains=_DYDX_DOMAINS),
)
"""Every sign-in."""
