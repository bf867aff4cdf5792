"""What one decision costs: from the payload's bytes to yes or no, on one core, without token, ledger and network.

A decision is ``intents.parse`` and ``core.decide.decide_signature``: state of the key, freezes, facts, every rule that
can match, prices, history, limits. Every payload is another one (``decide_payloads``), so nothing is answered from a
cache by its bytes; after each the signature is folded into the state, outside of the measured time, so that windows and
history grow as in a server. The garbage collector runs as it does there.

Policies of several sizes are measured in turns. They differ in rules about other keys; one has CROWD rules more about
the keys that sign: the cost follows the rules that can match.

``p50``, ``p95`` and ``p99`` are of time that passed; ``cpu`` of the processor time of this thread: it leaves out what
other processes took meanwhile: on a busy machine only that says what a decision costs.
"""

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from keyvault import intents
from keyvault.bench.decide_payloads import CASES, Case
from keyvault.bench.decide_policy import CROWD, CROWDED, policy
from keyvault.bench.options import Figure, Plan
from keyvault.bench.processes import BenchFailed
from keyvault.bench.report import rounded
from keyvault.core.apply import apply
from keyvault.core.commands import RequestSignature
from keyvault.core.decide import Authorised, decide_signature
from keyvault.core.events import SignatureRequest
from keyvault.core.ids import EnclaveName, Epoch, KeyId, Principal, RequestId, UnixMillis
from keyvault.core.intent import Intent, Signer, Stamp
from keyvault.core.keys import KeyLine, KeyProvenance, KeyState, KeyVersion, Signature
from keyvault.core.limits_check import Quota, quotas
from keyvault.core.policy import compile_policy
from keyvault.core.state import State
from keyvault.core.windows import Reservations

RULES: Final = (20, 200, 500)
RULES_TYPICAL: Final = 200
_CROWDED = "crowded"
LIMITS: Final = 50
_BEGINS = 1_790_000_000_000
_STEP_MS = 7
"""Between two decisions: some 140 a second, so that windows have many buckets."""
_NUMBER_FIRST = 1 << 24
"""Numbers of four bytes, so that all payloads of a case have nearly one length."""
_PRINCIPAL = Principal("spiffe://bench.local/bot/maker")
_SIGNATURE = Signature(value=bytes(64), recovery_id=0)
_US = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: ``rounds`` of ``turn`` decisions of each case under each policy, after ``warm_up``."""

    rounds: int
    turn: int
    warm_up: int


FULL: Final = Scale(rounds=25, turn=200, warm_up=1_200)
QUICK: Final = Scale(rounds=4, turn=25, warm_up=50)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Nanoseconds of every decision of one case under one policy; ``busy``: the processor's, preemption left out."""

    read: "array[int]" = field(default_factory=lambda: array("q"))
    judged: "array[int]" = field(default_factory=lambda: array("q"))
    busy: "array[int]" = field(default_factory=lambda: array("q"))

    def totals(self) -> list[int]:
        return sorted(map(sum, zip(self.read, self.judged, strict=True)))


class Desk:
    """An enclave in memory, under one policy, and the times of its decisions."""

    def __init__(self, rules: int, *, crowded: bool = False) -> None:
        self._state = _state(rules, crowded=crowded)
        self._reservations = Reservations()
        self._numbers = count(_NUMBER_FIRST)
        self._now = _BEGINS
        self.samples: dict[str, _Samples] = {}

    def turn(self, case: Case, decisions: int) -> None:
        """Decide so many payloads of a case, each another one."""
        samples = self.samples.setdefault(case.name, _Samples())
        for _ in range(decisions):
            read, judged, busy = self._decide(case)
            samples.read.append(read)
            samples.judged.append(judged)
            samples.busy.append(busy)

    def quotas(self, case: Case) -> tuple[Quota, ...]:
        """Return what the case's key has used of the limits."""
        state, now = self._state, UnixMillis(self._now)
        return quotas(state.policy, state.windows, self._reservations, KeyId(case.key), _PRINCIPAL, now)

    def forget(self) -> None:
        """Drop what was measured so far: the warm-up."""
        self.samples.clear()

    def _decide(self, case: Case) -> tuple[int, int, int]:
        self._now += _STEP_MS
        now, number = UnixMillis(self._now), next(self._numbers)
        request = SignatureRequest(
            request_id=RequestId(f"{number:036}"),
            principal=_PRINCIPAL,
            key=case.key,
            payload=case.make(number, self._now),
        )
        state, key = self._state, self._state.keys[KeyId(case.key)].versions[1]
        idle, began = time.thread_time_ns(), time.perf_counter_ns()
        signer = Signer.of(key, Stamp(at=now, nonce=now))
        intent = intents.parse(request.payload, signer)
        parsed = time.perf_counter_ns()
        command = RequestSignature(request=request, intent=intent, stamp=signer.stamp if intent.stamped else None)
        answer = decide_signature(state, self._reservations, command, now, intents.describe)
        ended, busy = time.perf_counter_ns(), time.thread_time_ns()
        if not isinstance(answer, Authorised):
            raise BenchFailed(f"a decision about {case.name} was not yes: {answer}")
        apply(state, state.size, answer.issued(state, _SIGNATURE))
        return parsed - began, ended - parsed, busy - idle


def _state(rules: int, *, crowded: bool) -> State:
    """Return an enclave with one key for each case. It has no ledger, so nothing was folded: it is made as it is."""
    state = State.empty()
    state.enclave, state.epoch, state.size = EnclaveName("bench"), Epoch(1), 2
    state.policy = policy(rules, LIMITS, as_of=_BEGINS, crowded=crowded)
    state.rules = compile_policy(state.policy)
    state.windows.watch(state.policy)
    for case in CASES.values():
        version = KeyVersion(
            key=KeyId(case.key),
            version=1,
            algorithm=case.algorithm,
            state=KeyState.ACTIVE,
            provenance=KeyProvenance.GENERATED,
            public_key=case.public_key,
            token_object_id=case.key.encode(),
            created_at=UnixMillis(_BEGINS),
        )
        state.keys[version.key] = KeyLine(primary=1, versions={1: version})
    return state


def measure(plan: Plan) -> dict[str, Figure]:
    """Return what decisions cost. Raises BenchFailed when one is not yes."""
    scale = QUICK if plan.quick else FULL
    cases = [CASES[name] for name in plan.cases]
    desks = {str(rules): Desk(rules) for rules in RULES}
    desks[_CROWDED] = Desk(RULES_TYPICAL, crowded=True)
    for desk in desks.values():
        for case in cases:
            desk.turn(case, scale.warm_up)
        desk.forget()
    for _ in range(scale.rounds):
        for case in cases:
            for name, desk in desks.items():
                if name != _CROWDED or case.name in CROWDED:
                    desk.turn(case, scale.turn)
    typical = desks[str(RULES_TYPICAL)]
    return {
        "cases": {case.name: _case(case, typical.samples[case.name]) for case in cases},
        "p50_by_rules": {case.name: _by_rules(case, desks) for case in cases},
        "decisions_each": scale.rounds * scale.turn,
        "policy": f"{RULES_TYPICAL} rules, {LIMITS} limits; crowded: {CROWD} rules more about the keys that sign",
    }


def sample(case: Case, number: int = _NUMBER_FIRST) -> Intent:
    """Return what one payload of a case means."""
    stamp = Stamp(at=UnixMillis(_BEGINS), nonce=_BEGINS)
    signer = Signer(algorithm=case.algorithm, public_key=case.public_key, stamp=stamp)
    return intents.parse(case.make(number, _BEGINS), signer)


def _case(case: Case, samples: _Samples) -> dict[str, Figure]:
    totals, payload = samples.totals(), case.make(_NUMBER_FIRST, _BEGINS)
    return {
        "p50_us": _percentile(totals, 50),
        "p95_us": _percentile(totals, 95),
        "p99_us": _percentile(totals, 99),
        "cpu_p50_us": _percentile(sorted(samples.busy), 50),
        "cpu_p99_us": _percentile(sorted(samples.busy), 99),
        "decode_p50_us": _percentile(sorted(samples.read), 50),
        "judge_p50_us": _percentile(sorted(samples.judged), 50),
        "aim_p50_us": case.aim_p50_us,
        "aim_p99_us": case.aim_p99_us,
        "effects": len(sample(case).effects),
        "bytes": sum(map(len, payload.parts)),
    }


def _by_rules(case: Case, desks: Mapping[str, Desk]) -> dict[str, Figure]:
    """Return the medians under each policy, and how many times that of the smallest they are."""
    medians = {
        name: _percentile(desk.samples[case.name].totals(), 50)
        for name, desk in desks.items()
        if case.name in desk.samples
    }
    smallest = medians[str(RULES[0])]
    ratios = {f"{name}/{RULES[0]}": rounded(found, smallest) for name, found in medians.items()}
    return {**medians, **{name: ratio for name, ratio in ratios.items() if name != f"{RULES[0]}/{RULES[0]}"}}


def _percentile(ordered: Sequence[int], part: int) -> float:
    """Return a percentile (nearest rank) of nanoseconds as microseconds."""
    return round(ordered[max(0, -(-len(ordered) * part // 100) - 1)] / _US, 1)
