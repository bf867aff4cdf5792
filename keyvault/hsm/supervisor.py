"""One token for the engine: all its workers, started, watched, replaced and ended.

The server process never imports ``pkcs11``, never loads the module, never reads the PIN.
"""

import asyncio
import hmac
import secrets
import time
from collections.abc import Sequence

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, Signature
from keyvault.core.limits import (
    CHALLENGE_BYTES,
    KEY_CHECK_BYTES,
    TOKEN_CLOSE_MS,
    TRANSPORT_KEY_DER_BYTES_MAX,
    WRAPPED_IMPORT_KEY_BYTES_MAX,
    WRAPPED_IMPORT_KEY_BYTES_MIN,
    WRAPPED_KEY_BYTES_MAX,
    WRAPPED_KEY_BYTES_MIN,
    WRAPPED_SECRET_BYTES_MAX,
    WRAPPED_SECRET_BYTES_MIN,
    WRAPPED_WRAPPING_KEY_BYTES_MAX,
    WRAPPED_WRAPPING_KEY_BYTES_MIN,
    WRAPPING_KEY_CHECK_BYTES,
)
from keyvault.core.marks import Mark
from keyvault.hsm import jobs, proofs
from keyvault.hsm.base import IMPORT_KEY_OBJECT_ID, TokenFault
from keyvault.hsm.config import TokenConfig
from keyvault.hsm.lane import WorkerLane
from keyvault.hsm.process import Breaker, Capabilities, WorkerSlot
from keyvault.hsm.verify import PUBLIC_KEY_BYTES


class TokenSupervisor:
    """A ``keyvault.hsm.base.Token``. Make it with ``open_token``."""

    def __init__(self, config: TokenConfig) -> None:
        self._breaker = Breaker()
        self._slots = tuple(WorkerSlot(config, self._breaker) for _ in range(config.workers))
        self._strikes = jobs.Strikes()
        self._lanes = tuple(
            WorkerLane(
                slot=slot,
                index=index,
                breaker=self._breaker,
                strikes=self._strikes,
                deadline_ms=config.deadline_ms,
                latched=self._lane_latched,
            )
            for slot in self._slots
            for index in range(config.lanes_per_worker)
        )
        self._making = asyncio.Lock()
        self._next_maker = 0

    @property
    def lanes(self) -> Sequence[WorkerLane]:
        """All lanes of all workers; fixed for the token's life."""
        return self._lanes

    @property
    def has_worker(self) -> bool:
        """Whether any lane has a live worker, so that a request would be signed now."""
        return any(lane.has_worker for lane in self._lanes)

    @property
    def capabilities(self) -> Capabilities:
        """What every worker of the token can do. Raises TokenFault before ``start`` returned."""
        found = [slot.capabilities for slot in self._slots if slot.capabilities is not None]
        if len(found) < len(self._slots):
            raise TokenFault("NOT_READY", "the token's workers have not started yet")
        return Capabilities(
            algorithms=frozenset.intersection(*(one.algorithms for one in found)),
            imports_secrets=all(one.imports_secrets for one in found),
            keeps_anchor=all(one.keeps_anchor for one in found),
            transports=frozenset.intersection(*(one.transports for one in found)),
            token_label=found[0].token_label,
            token_serial=found[0].token_serial,
            library=found[0].library,
        )

    @property
    def worker_starts(self) -> int:
        """How often a worker was started; above the number of workers, some were replaced."""
        return sum(slot.starts for slot in self._slots)

    async def start(self) -> None:
        """Start all workers. Raises TokenFault that says what is wrong and what to do; ``close`` it then."""
        for lane in self._lanes:
            lane.start()
        for lane in self._lanes:
            fault = await lane.started
            if fault is not None:
                raise fault

    async def generate(self, object_id: bytes, algorithm: KeyAlgorithm, *, plaintext_transport: bool = False) -> bytes:
        """See ``keyvault.hsm.base.Token``. The new key signs once, so that its public key is proven."""
        self._check_supported(algorithm)
        async with self._making:
            lane = await self._maker()
            job = jobs.generate(object_id, algorithm, plaintext_transport=plaintext_transport)
            public_key = await lane.change(job)
            await _proven(lane, object_id, algorithm, public_key, _challenge())
        return public_key

    async def prove(self, object_id: bytes, algorithm: KeyAlgorithm, public_key: bytes, challenge: bytes) -> Signature:
        """See ``keyvault.hsm.base.Token``."""
        _check_size("CHALLENGE_SIZE", "a challenge", challenge, CHALLENGE_BYTES, CHALLENGE_BYTES)
        self._check_supported(algorithm)
        return await _proven(await self._maker(), object_id, algorithm, public_key, challenge)

    async def key_check(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """See ``keyvault.hsm.base.Token``."""
        self._check_supported(algorithm)
        if algorithm not in HMAC_ALGORITHMS:
            raise TokenFault("NO_KEY_CHECK", f"{algorithm} keys are known by their public key")
        return await _checked(await self._maker(), object_id, algorithm)

    async def transport_public_key(self) -> bytes:
        """See ``keyvault.hsm.base.Token``."""
        return await self._told(jobs.transport_key(), 1, TRANSPORT_KEY_DER_BYTES_MAX)

    async def create_wrapping_key(self) -> None:
        """See ``keyvault.hsm.base.Token``."""
        await self._change(jobs.create_wrapping_key())

    async def wrapping_key_check(self) -> bytes:
        """See ``keyvault.hsm.base.Token``."""
        return await self._told(jobs.check_wrapping_key(), WRAPPING_KEY_CHECK_BYTES, WRAPPING_KEY_CHECK_BYTES)

    async def export_wrapping_key(self, to_public_key_der: bytes) -> bytes:
        """See ``keyvault.hsm.base.Token``."""
        _check_size("TRANSPORT_KEY_SIZE", "a public key", to_public_key_der, 1, TRANSPORT_KEY_DER_BYTES_MAX)
        job = jobs.export_wrapping_key(to_public_key_der)
        return await self._told(job, WRAPPED_WRAPPING_KEY_BYTES_MIN, WRAPPED_WRAPPING_KEY_BYTES_MAX)

    async def import_wrapping_key(self, blob: bytes, check: bytes) -> None:
        """See ``keyvault.hsm.base.Token``."""
        least, most = WRAPPED_WRAPPING_KEY_BYTES_MIN, WRAPPED_WRAPPING_KEY_BYTES_MAX
        _check_size("WRAPPED_SIZE", "a wrapped wrapping key", blob, least, most)
        _check_size("CHECK_SIZE", "a wrapping key's check", check, WRAPPING_KEY_CHECK_BYTES, WRAPPING_KEY_CHECK_BYTES)
        await self._change(jobs.import_wrapping_key(blob, check))

    async def wrap(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """See ``keyvault.hsm.base.Token``."""
        self._check_supported(algorithm)
        return await self._told(jobs.wrap(object_id, algorithm), WRAPPED_KEY_BYTES_MIN, WRAPPED_KEY_BYTES_MAX)

    async def unwrap_copy(
        self,
        object_id: bytes,
        algorithm: KeyAlgorithm,
        blob: bytes,
        identity: bytes,
        *,
        plaintext_transport: bool = False,
    ) -> None:
        """See ``keyvault.hsm.base.Token``. The worker's word is not enough: the copy proves itself here, too."""
        self._check_supported(algorithm)
        _check_size("WRAPPED_SIZE", "a wrapped key", blob, WRAPPED_KEY_BYTES_MIN, WRAPPED_KEY_BYTES_MAX)
        size = KEY_CHECK_BYTES if algorithm in HMAC_ALGORITHMS else PUBLIC_KEY_BYTES[algorithm]
        _check_size("IDENTITY_SIZE", f"the identity of a key for {algorithm}", identity, size, size)
        job = jobs.unwrap_copy(object_id, algorithm, blob, identity, plaintext_transport=plaintext_transport)
        async with self._making:
            lane = await self._maker()
            await lane.change(job)
            if algorithm not in HMAC_ALGORITHMS:
                await _proven(lane, object_id, algorithm, identity, _challenge())
            elif not hmac.compare_digest(await _checked(lane, object_id, algorithm), identity):
                raise TokenFault("COPY_NOT_PROVEN", "the secret in the token is not the one that it should be")

    async def wrap_import_key(self) -> bytes:
        """See ``keyvault.hsm.base.Token``."""
        return await self._told(jobs.wrap_import_key(), WRAPPED_IMPORT_KEY_BYTES_MIN, WRAPPED_IMPORT_KEY_BYTES_MAX)

    async def unwrap_import_copy(self, blob: bytes, public_key_der: bytes) -> None:
        """See ``keyvault.hsm.base.Token``."""
        least, most = WRAPPED_IMPORT_KEY_BYTES_MIN, WRAPPED_IMPORT_KEY_BYTES_MAX
        _check_size("WRAPPED_SIZE", "a wrapped import key", blob, least, most)
        _check_size("IDENTITY_SIZE", "a public key", public_key_der, 1, TRANSPORT_KEY_DER_BYTES_MAX)
        await self._change(jobs.unwrap_import_copy(blob, public_key_der))

    async def unwrap(self, object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> None:
        """See ``keyvault.hsm.base.Token``. Doing it twice with the same secret is doing it once."""
        self._check_supported(algorithm)
        if algorithm not in HMAC_ALGORITHMS:
            raise TokenFault("NOT_IMPORTED", f"{algorithm} keys are generated, only HMAC secrets are imported")
        _check_size("WRAPPED_SIZE", "a wrapped secret", wrapped, WRAPPED_SECRET_BYTES_MIN, WRAPPED_SECRET_BYTES_MAX)
        async with self._making:
            lane = await self._maker()
            await lane.change(jobs.unwrap(object_id, IMPORT_KEY_OBJECT_ID, algorithm, wrapped))

    async def destroy(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        """See ``keyvault.hsm.base.Token``. Every lane that is up searches anew and forgets its handle."""
        job = jobs.destroy(object_id, algorithm)
        async with self._making:
            first = await self._maker()
            await first.change(job)
            for lane in self._lanes:
                # A handle is found only while a lane is up: one that comes up from now on has none and finds none.
                if lane is not first and lane.has_worker:
                    await lane.change(job)
        self._strikes.gone(object_id)

    @property
    def keeps_anchor(self) -> bool:
        """See ``keyvault.hsm.base.Token``."""
        return self.capabilities.keeps_anchor

    async def read_anchor(self) -> Mark | None:
        """See ``keyvault.hsm.base.Token``."""
        return await self._look_at_anchor(jobs.read_anchor()) if self.keeps_anchor else None

    async def write_anchor(self, mark: Mark) -> None:
        """See ``keyvault.hsm.base.Token``."""
        if self.keeps_anchor:
            await self._look_at_anchor(jobs.write_anchor(mark))

    async def _look_at_anchor(self, job: jobs.AnchorJob) -> Mark | None:
        async with self._making:
            found = await (await self._maker()).run(job)
        if isinstance(found, TokenFault):
            raise found
        return found

    async def close(self) -> None:
        """End all workers, within two seconds. Batches in flight become faults."""
        if self._breaker.closing.is_set():
            return
        self._breaker.closing.set()
        for lane in self._lanes:
            lane.stop()
        await asyncio.to_thread(self._interrupt)
        await asyncio.gather(*(lane.ended() for lane in self._lanes))
        await asyncio.to_thread(self._end)

    async def _change(self, job: jobs.ObjectJob) -> bytes:
        async with self._making:
            lane = await self._maker()
            return await lane.change(job)

    async def _told(self, job: jobs.ObjectJob, least: int, most: int) -> bytes:
        """Return what the worker answers, if it has the size of what was asked for. Raises TokenFault."""
        answer = await self._change(job)
        _check_size("BAD_ANSWER", "what was asked for", answer, least, most)
        return answer

    def _interrupt(self) -> None:
        for slot in self._slots:
            slot.interrupt()

    def _end(self) -> None:
        deadline = time.monotonic() + TOKEN_CLOSE_MS / 1000
        for slot in self._slots:
            slot.end(deadline)
        for lane in self._lanes:
            lane.join()

    def _lane_latched(self) -> None:
        """When the last lane is latched nobody need wait any more: ``sign`` says why nothing will come."""
        if all(lane.latched for lane in self._lanes):
            for lane in self._lanes:
                lane.hopeless = True
                lane.announce()

    def _check_supported(self, algorithm: KeyAlgorithm) -> None:
        if algorithm not in self.capabilities.algorithms:
            raise TokenFault("UNSUPPORTED_ALGORITHM", f"this token does not sign with {algorithm}")

    async def _maker(self) -> WorkerLane:
        """Return a lane that is up, another one each time, so that no worker is needed for making."""
        waits = [asyncio.ensure_future(lane.ready()) for lane in self._lanes]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            up = [lane for lane, wait in zip(self._lanes, waits, strict=True) if wait.done()]
        finally:
            for wait in waits:
                wait.cancel()
        self._next_maker += 1
        return up[self._next_maker % len(up)]


async def _proven(
    lane: WorkerLane, object_id: bytes, algorithm: KeyAlgorithm, public_key: bytes, challenge: bytes
) -> Signature:
    (proof,) = await lane.sign([proofs.possession(object_id, algorithm, public_key, challenge)])
    if isinstance(proof, TokenFault):
        raise proof
    return proof


async def _checked(lane: WorkerLane, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
    (mac,) = await lane.sign([proofs.key_check(object_id, algorithm)])
    if isinstance(mac, TokenFault):
        raise mac
    return proofs.cut(mac.value)


def _challenge() -> bytes:
    return secrets.token_bytes(CHALLENGE_BYTES)


def _check_size(code: str, what: str, content: bytes, least: int, most: int) -> None:
    """Raise TokenFault before a worker, or anything that parses, sees what cannot be right."""
    if not least <= len(content) <= most:
        bounds = f"{most}" if least == most else f"{least} to {most}"
        raise TokenFault(code, f"{what} has {bounds} bytes, not {len(content)}")


async def open_token(config: TokenConfig) -> TokenSupervisor:
    """Return a token whose workers all run and passed their self-test.

    Raises TokenFault that says what is wrong and what to do: module missing, token not found, PIN refused, PIN file.
    Then, or when it is cancelled, nothing is left running.
    """
    token = TokenSupervisor(config)
    try:
        await token.start()
    except BaseException:
        await token.close()
        raise
    return token
