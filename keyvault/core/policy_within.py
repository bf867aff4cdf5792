"""Whether one rule, by one of its readings, matches only what another matches. A proof: no when in doubt."""

from keyvault.core.policy_facts import Place
from keyvault.core.policy_match import Matcher, scope
from keyvault.core.policy_rules import ANY, Anything, Rule, account_of


class Part:
    """A rule by one of its readings, its conditions found by place."""

    __slots__ = ("_bounds", "_floors", "_sets", "keys", "kinds", "matcher", "rule")

    def __init__(self, rule: Rule, matcher: Matcher) -> None:
        self.rule = rule
        self.keys, self.kinds = scope(rule)
        self.matcher = matcher
        self._sets = dict(matcher.sets)
        named = self._sets.get(Place.DESTINATION)
        if named is not None:  # what goes to one of these goes to one of their accounts
            self._sets[Place.ACCOUNT] = frozenset(account_of(each) if isinstance(each, str) else each for each in named)
        self._bounds = {place: (low, high) for place, low, high in matcher.bounds}
        self._floors = {place: (floor, others) for place, floor, others in matcher.floors}

    def is_within(self, other: "Part") -> bool:
        """Return True only if the other matches whatever this matches; False when in doubt."""
        return (
            are_keys_within(self.keys, other.keys)
            and self.kinds <= other.kinds
            and self._sets_imply(other.matcher)
            and self._amounts_imply(other.matcher)
            and self._says_as_much(other.matcher)
        )

    def _says_as_much(self, other: Matcher) -> bool:
        """Return whether this leaves out all that the other leaves out, and its predicate is the other's or more."""
        if other.unsaid & ~self.matcher.unsaid:
            return False
        return other.predicate is None or (self.matcher.predicate is not None and self.rule.when == other.rule.when)

    def _sets_imply(self, other: Matcher) -> bool:
        for place, values in other.sets:
            mine = self._sets.get(place)
            if mine is None or not mine <= values:
                return False
        return True

    def _amounts_imply(self, other: Matcher) -> bool:
        for place, low, high in other.bounds:
            bound = self._bounds.get(place)
            if bound is None or bound[0] < low or bound[1] > high:
                return False
        for place, floor, others in other.floors:
            mine = self._floors.get(place)
            if mine is None or mine[0] < floor or not mine[1] <= others:
                return False
        return True


def are_keys_within(keys: frozenset[str] | Anything, other: frozenset[str] | Anything) -> bool:
    """Return whether the other is about all these keys."""
    return other is ANY or (keys is not ANY and keys <= other)
