"""What the ledger says now: the state that every decision reads. Only ``core.apply`` writes it.

Nothing in here was ever told by anybody but the ledger (I2); time is that of the facts.
"""

from keyvault.core.charter import EMPTY, Rulers
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.familiar import Familiar
from keyvault.core.ids import NOBODY, EnclaveName, Epoch, KeyId, Principal, UnixMillis
from keyvault.core.intent import Effect
from keyvault.core.keys import KeyLine, KeyState, KeyVersion
from keyvault.core.marks import Incarnation
from keyvault.core.pair import Pair
from keyvault.core.policy import CompiledPolicy, Policy, compile_policy
from keyvault.core.policy_facts import Moment
from keyvault.core.proposals import Proposals
from keyvault.core.statements import FreezeScope
from keyvault.core.tokens import Tokens
from keyvault.core.windows import Windows


class State:
    """What the ledger says now. Read it freely; only ``apply`` writes."""

    __slots__ = (
        "changed",
        "charter_document",
        "charter_sha256",
        "decided",
        "decided_at",
        "enclave",
        "enclave_id",
        "epoch",
        "familiar",
        "frozen",
        "import_public_key",
        "incarnations",
        "keys",
        "latest_at",
        "log_public_key",
        "nonces",
        "pair",
        "policy",
        "policy_document",
        "policy_sha256",
        "proposals",
        "rulers",
        "rules",
        "size",
        "stands",
        "term_node",
        "tokens",
        "whole",
        "windows",
    )

    def __init__(self) -> None:
        self.enclave = EnclaveName("")
        self.enclave_id = b""
        self.log_public_key = b""
        self.import_public_key = b""
        self.size = 0
        """Entries of the ledger that were folded."""
        self.whole = True
        """Whether none was left out, as evidence leaves most of them out."""
        self.changed = 0
        """Entries up to the last that is no ordinary answer, refused change or beginning of a term."""
        self.decided = 0
        """Entries up to the last that decided anything: an answer, a question, or a change of power but who leads."""
        self.decided_at = UnixMillis(0)
        """When the last of them was decided."""
        self.incarnations: tuple[Incarnation, ...] = ()
        """The new beginnings of the ledger after it was put back from an older copy."""
        self.epoch = Epoch(0)
        self.term_node = NOBODY
        """Where the present term is led."""
        self.pair: Pair | None = None
        """Who may lead, and who follows; None until members name them."""
        self.stands = False
        """The present term decides nothing but who leads."""
        self.latest_at = UnixMillis(0)
        """The latest time that any fact was decided at: for approvals the clock never goes back behind it."""
        self.rulers: Rulers = EMPTY
        self.charter_document = b""
        self.charter_sha256 = b""
        self.proposals = Proposals()
        self.frozen: dict[tuple[FreezeScope, str], str] = {}
        """What is frozen, and the member who froze it."""
        self.keys: dict[KeyId, KeyLine] = {}
        self.policy = Policy(version=0, rules=(), limits=())
        self.policy_document = b""
        self.policy_sha256 = b""
        self.rules: CompiledPolicy = compile_policy(self.policy)
        self.nonces: dict[KeyId, int] = {}
        """The highest nonce that each key was stamped with."""
        self.windows = Windows()
        self.familiar = Familiar()
        self.tokens = Tokens()

    @property
    def incarnation(self) -> int:
        """The number of the present one; 1 until a restored ledger went on."""
        return self.incarnations[-1].number if self.incarnations else 1

    @classmethod
    def empty(cls) -> "State":
        """Return the state before entry 0: refuses everything."""
        return cls()

    def aside(self) -> "State":
        """Return the same, for facts about who leads that may come: nothing else may be applied to it.

        It shares with this state what no such fact touches.
        """
        other = State.__new__(State)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.proposals = self.proposals.aside()
        return other

    def __eq__(self, other: object) -> bool:
        """Say whether both states would decide everything alike."""
        if not isinstance(other, State):
            return NotImplemented
        names = (name for name in self.__slots__ if name not in ("rules", "rulers"))
        return self.rulers.charter == other.rulers.charter and all(
            getattr(self, name) == getattr(other, name) for name in names
        )

    __hash__ = None  # type: ignore[assignment]  # mutable: must not be a key


def not_before(state: State, now: UnixMillis) -> UnixMillis:
    """Return the time that counts for approvals: a clock that was set back revives nothing that has expired."""
    return max(now, state.latest_at)


def moment_of(state: State, now: UnixMillis) -> Moment:
    """Return what a decision is made with now."""
    return Moment(now=now, familiar=state.familiar, known=state.size)


def find_key(state: State, key: KeyId, version: int | None) -> KeyVersion:
    """Return this version of the key (None: the primary), or raise Refused(KEY_NOT_FOUND)."""
    line = state.keys.get(key)
    if line is None:
        raise Refused(Reason.KEY_NOT_FOUND, f"enclave {state.enclave} has no key {key}")
    found = line.versions.get(line.primary if version is None else version)
    if found is None:
        raise Refused(Reason.KEY_NOT_FOUND, f"enclave {state.enclave} has no key {key} version {version}")
    return found


def check_signs(key: KeyVersion) -> None:
    """Raise Refused(KEY_NOT_ACTIVE) unless this version makes signatures."""
    if key.state is not KeyState.ACTIVE:
        raise Refused(
            Reason.KEY_NOT_ACTIVE,
            f"key {key.key} version {key.version} is {key.state.lower().replace('_', ' ')}{_HINTS.get(key.state, '')}",
        )


_HINTS = {
    KeyState.PRE_ACTIVE: ": members enable it",
    KeyState.ROTATED: ": a newer version signs, this one only verifies",
}


def check_not_frozen(state: State, key: KeyId, principal: Principal, effects: tuple[Effect, ...]) -> None:
    """Raise Refused(FROZEN) if anything that the request touches is frozen."""
    if not state.frozen:
        return
    touched = [(FreezeScope.ENCLAVE, ""), (FreezeScope.KEY, key), (FreezeScope.PRINCIPAL, principal)]
    touched += [(FreezeScope.VENUE, effect.venue) for effect in effects if effect.venue is not None]
    for scope, name in touched:
        if (scope, name) in state.frozen:
            what = " ".join(filter(None, (scope.value, name)))
            raise Refused(Reason.FROZEN, f"{what} is frozen: members lift it with their quorum")


def split_key_name(name: str) -> tuple[KeyId, int | None]:
    """Return key and version of ``{key}`` or ``{key}/versions/{version}`` as parsed at the edge."""
    key, _, version = name.partition("/versions/")
    return KeyId(key), int(version) if version else None


def check_venue_name(name: str, venues: frozenset[str]) -> None:
    """Raise Malformed unless this is a venue that decoders name: a freeze of another would stop nothing."""
    if name not in venues:
        raise Malformed("statement.parameters.name", f"{name[:80]!r} is no venue: {', '.join(sorted(venues))}")
