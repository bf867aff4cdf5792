"""The SDK for programs without an event loop: the same client, on an event loop in a thread of its own.

Nothing is written twice: each method is the asynchronous one, run there and waited for here.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from keyvault.client.aio import AsyncClient
from keyvault.client.audit import LedgerEntry
from keyvault.client.credentials import Credentials
from keyvault.client.results import EnclaveInfo, Proposal, Signed
from keyvault.client.retry import Timing
from keyvault.client.stream import SignStream
from keyvault.core.intent import Payload
from keyvault.core.statements import Action, Statement

P = ParamSpec("P")
R = TypeVar("R")


class _LoopThread:
    """An event loop in a thread of its own, from construction to ``close``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="keyvault-client", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[object, object, R]) -> "Future[R]":
        """Begin ``work`` there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[object, object, R]) -> R:
        """Return what ``work`` returns; interrupted here, it is cancelled there."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _sync(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[object, object, R]],
) -> Callable[Concatenate["Client", P], R]:
    """Return the method with the same arguments and result that blocks instead."""

    def blocking(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(method(self._client, *args, **kwargs))

    functools.update_wrapper(blocking, method)
    return blocking


class Client:
    """``AsyncClient`` for blocking code; safe for use from several threads. See ``Caller`` for the arguments."""

    def __init__(  # noqa: PLR0913 (named options, each with a default)
        self,
        target: str | Sequence[str],
        credentials: Credentials,
        *,
        enclave: str,
        deadline_s: float = 10.0,
        attempt_deadline_s: float | None = None,
        expected_keys: Mapping[str, bytes] | None = None,
        expected_log_vkey: str | None = None,
        expected_enclave_id: bytes | None = None,
        server_name: str | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._client = AsyncClient(
            target,
            credentials,
            enclave=enclave,
            deadline_s=deadline_s,
            attempt_deadline_s=attempt_deadline_s,
            expected_keys=expected_keys,
            expected_log_vkey=expected_log_vkey,
            expected_enclave_id=expected_enclave_id,
            server_name=server_name,
            timing=timing,
        )
        self._thread: _LoopThread | None = None

    def __enter__(self) -> Self:
        """Open the channels; each connects with its first call."""
        self._thread = _LoopThread()
        self._run(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channels."""
        if self._thread is not None:
            self._run(self._client.__aexit__(kind, error, trace))
            self._thread.close()
            self._thread = None

    sign = _sync(AsyncClient.sign)
    sign_evm_transaction = _sync(AsyncClient.sign_evm_transaction)
    sign_authorization = _sync(AsyncClient.sign_authorization)
    sign_message = _sync(AsyncClient.sign_message)
    sign_typed_data = _sync(AsyncClient.sign_typed_data)
    sign_hyperliquid = _sync(AsyncClient.sign_hyperliquid)
    sign_solana = _sync(AsyncClient.sign_solana)
    sign_cosmos = _sync(AsyncClient.sign_cosmos)
    sign_psbt = _sync(AsyncClient.sign_psbt)
    sign_exchange = _sync(AsyncClient.sign_exchange)
    sign_exchange_message = _sync(AsyncClient.sign_exchange_message)
    log_on = _sync(AsyncClient.log_on)
    sign_binance = _sync(AsyncClient.sign_binance)
    sign_digest = _sync(AsyncClient.sign_digest)
    simulate = _sync(AsyncClient.simulate)
    quotas = _sync(AsyncClient.quotas)
    public_key = _sync(AsyncClient.public_key)
    get_enclave = _sync(AsyncClient.get_enclave)
    proven_enclave = _sync(AsyncClient.proven_enclave)
    stays_in_one_token = _sync(AsyncClient.stays_in_one_token)
    get_key = _sync(AsyncClient.get_key)
    list_keys = _sync(AsyncClient.list_keys)
    get_policy = _sync(AsyncClient.get_policy)
    get_charter = _sync(AsyncClient.get_charter)
    list_freezes = _sync(AsyncClient.list_freezes)
    get_proposal = _sync(AsyncClient.get_proposal)
    list_proposals = _sync(AsyncClient.list_proposals)
    propose = _sync(AsyncClient.propose)
    cast = _sync(AsyncClient.cast)
    settled = _sync(AsyncClient.settled)
    change = _sync(AsyncClient.change)
    create_key = _sync(AsyncClient.create_key)
    import_hmac_key = _sync(AsyncClient.import_hmac_key)
    rotate_key = _sync(AsyncClient.rotate_key)
    enable_key = _sync(AsyncClient.enable_key)
    disable_key = _sync(AsyncClient.disable_key)
    destroy_key = _sync(AsyncClient.destroy_key)
    keep_key = _sync(AsyncClient.keep_key)
    publish_policy = _sync(AsyncClient.publish_policy)
    change_charter = _sync(AsyncClient.change_charter)
    freeze = _sync(AsyncClient.freeze)
    thaw = _sync(AsyncClient.thaw)
    get_node = _sync(AsyncClient.get_node)
    step_down = _sync(AsyncClient.step_down)
    set_drained = _sync(AsyncClient.set_drained)
    record_ceremony_step = _sync(AsyncClient.record_ceremony_step)
    leave_quarantine = _sync(AsyncClient.leave_quarantine)
    set_pair = _sync(AsyncClient.set_pair)
    join_token = _sync(AsyncClient.join_token)
    leave_token = _sync(AsyncClient.leave_token)
    checkpoint = _sync(AsyncClient.checkpoint)
    inclusion_proof = _sync(AsyncClient.inclusion_proof)
    consistency_proof = _sync(AsyncClient.consistency_proof)

    def entries(self, start: int = 0) -> Iterator[LedgerEntry]:
        """Yield all entries from index ``start``, in order, up to the end that the ledger then has."""
        entries = self._client.entries(start)
        while (entry := self._run(_next(entries))) is not None:
            yield entry

    def make_statement(
        self,
        enclave: EnclaveInfo,
        action: Action,
        parameters: Mapping[str, str],
        *,
        requester: str,
        life_ms: int | None = None,
    ) -> Statement:
        """Return a statement for this enclave; see ``AsyncClient.make_statement``."""
        return self._client.make_statement(enclave, action, parameters, requester=requester, life_ms=life_ms)

    def watch_proposal(self, name: str) -> Iterator[Proposal]:
        """Yield the proposal as it is, then after each change, until it has ended."""
        seen = self._client.watch_proposal(name)
        while (proposal := self._run(_next(seen))) is not None:
            yield proposal

    def stream(self) -> "BlockingSignStream":
        """Return a new stream of signature requests, to be used in ``with``."""
        return BlockingSignStream(self._client.stream(), self._started())

    def _started(self) -> _LoopThread:
        if self._thread is None:
            raise RuntimeError("a Client is used inside `with`")
        return self._thread

    def _run(self, work: Coroutine[object, object, R]) -> R:
        try:
            thread = self._started()
        except RuntimeError:
            work.close()
            raise
        return thread.run(work)


class BlockingSignStream:
    """``SignStream`` for blocking code. Leaving it waits for all answers."""

    def __init__(self, stream: SignStream, thread: _LoopThread) -> None:
        self._stream = stream
        self._thread = thread

    def __enter__(self) -> Self:
        """Start the stream."""
        self._thread.run(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all answers; after an exception, cancel what is not answered."""
        self._thread.run(self._stream.__aexit__(kind, error, trace))

    def submit(self, key: str, payload: Payload, *, request_id: str | None = None) -> "Future[Signed]":
        """Send one request as soon as there is room; return the future of its verified answer."""
        answer = self._thread.run(self._stream.submit(key, payload, request_id=request_id))
        return self._thread.start(_answer(answer))


async def _next(items: AsyncIterator[R]) -> R | None:
    return await anext(items, None)


async def _answer(future: asyncio.Future[Signed]) -> Signed:
    return await future
