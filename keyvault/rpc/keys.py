"""KeyService: the life of keys. The statement says what; the call only carries it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.approvals import Action, decode_statement
from keyvault.core.commands import ChangeEnclave
from keyvault.core.errors import Malformed, NotFound
from keyvault.core.events import KeyCreated, KeyStateChanged
from keyvault.core.ids import KeyId
from keyvault.core.policy import Policy
from keyvault.core.state import find_key
from keyvault.engine.enclave import Enclave
from keyvault.ledger import wire
from keyvault.ledger.note import verifier
from keyvault.rpc.auth import Context, Door
from keyvault.rpc.convert import key_to_proto
from keyvault.rpc.names import parse_enclave, parse_key_name
from keyvault.rpc.status import abort, failure_of
from keyvault.v1 import keys_pb2, keys_pb2_grpc, types_pb2

R = TypeVar("R")

_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000


async def guarded(context: Context, work: Callable[[], Awaitable[R]]) -> R:
    """Return what ``work`` returns; an error ends the call with its status."""
    try:
        return await work()
    except Exception as error:
        await abort(context, failure_of(error))
        raise


def check_enclave(enclave: Enclave, field: str, name: str) -> None:
    """Raise unless ``name`` is this enclave's."""
    if parse_enclave(field, name) != enclave.state.enclave:
        raise NotFound(f"this server has no {name}")


def change_of(
    envelope: types_pb2.Envelope,
    action: Action,
    *,
    wrapped_secret: bytes = b"",
    policy: Policy | None = None,
    document: bytes = b"",
) -> ChangeEnclave:
    """Return the command if the statement asks for ``action``; raise Malformed otherwise."""
    authorization = wire.envelope_from_proto(envelope)
    statement = decode_statement(authorization.payload)
    if statement.action is not action:
        raise Malformed("authorization", f"the statement asks for {statement.action}, this call does {action}")
    return ChangeEnclave(
        authorization=authorization,
        statement=statement,
        wrapped_secret=wrapped_secret,
        policy=policy,
        document=document,
    )


class KeyService(keys_pb2_grpc.KeyServiceServicer):
    """Keys of one enclave."""

    def __init__(self, enclave: Enclave, door: Door) -> None:
        self._enclave = enclave
        self._door = door

    async def CreateKey(self, request: keys_pb2.CreateKeyRequest, context: Context) -> types_pb2.Key:
        """See keys.proto."""
        await self._door.admit(context, "admin")

        async def work() -> types_pb2.Key:
            check_enclave(self._enclave, "parent", request.parent)
            return await self._change(change_of(request.authorization, Action.KEY_CREATE))

        return await guarded(context, work)

    async def ImportKey(self, request: keys_pb2.ImportKeyRequest, context: Context) -> types_pb2.Key:
        """See keys.proto."""
        await self._door.admit(context, "admin")

        async def work() -> types_pb2.Key:
            check_enclave(self._enclave, "parent", request.parent)
            if not 0 < len(request.wrapped_secret) <= limits.WRAPPED_SECRET_BYTES_MAX:
                raise Malformed("wrapped_secret", f"must be 1 to {limits.WRAPPED_SECRET_BYTES_MAX} bytes")
            command = change_of(request.authorization, Action.KEY_IMPORT, wrapped_secret=request.wrapped_secret)
            return await self._change(command)

        return await guarded(context, work)

    async def DisableKey(self, request: keys_pb2.DisableKeyRequest, context: Context) -> types_pb2.Key:
        """See keys.proto."""
        await self._door.admit(context, "admin")
        return await guarded(context, lambda: self._turn(request.name, request.authorization, Action.KEY_DISABLE))

    async def EnableKey(self, request: keys_pb2.EnableKeyRequest, context: Context) -> types_pb2.Key:
        """See keys.proto."""
        await self._door.admit(context, "admin")
        return await guarded(context, lambda: self._turn(request.name, request.authorization, Action.KEY_ENABLE))

    async def GetKey(self, request: keys_pb2.GetKeyRequest, context: Context) -> types_pb2.Key:
        """See keys.proto."""
        await self._door.admit(context, "admin", "auditor")

        async def work() -> types_pb2.Key:
            key, version = self._named(request.name)
            return self._show(key, version)

        return await guarded(context, work)

    async def ListKeys(self, request: keys_pb2.ListKeysRequest, context: Context) -> keys_pb2.ListKeysResponse:
        """See keys.proto."""
        await self._door.admit(context, "admin", "auditor")

        async def work() -> keys_pb2.ListKeysResponse:
            check_enclave(self._enclave, "parent", request.parent)
            size = request.page_size or _PAGE_DEFAULT
            if not 0 < size <= _PAGE_MAX:
                raise Malformed("page_size", f"must be 1 to {_PAGE_MAX}, or 0 for {_PAGE_DEFAULT}")
            names = sorted(key for key in self._enclave.state.keys if key > request.page_token)
            page = names[:size]
            return keys_pb2.ListKeysResponse(
                keys=[self._show(key, None) for key in page],
                next_page_token=page[-1] if len(names) > size else "",
            )

        return await guarded(context, work)

    async def GetEnclave(self, request: keys_pb2.GetEnclaveRequest, context: Context) -> keys_pb2.Enclave:
        """See keys.proto."""
        await self._door.admit(context, "admin", "auditor")

        async def work() -> keys_pb2.Enclave:
            check_enclave(self._enclave, "name", request.name)
            state = self._enclave.state
            return keys_pb2.Enclave(
                name=f"enclaves/{state.enclave}",
                enclave_id=state.enclave_id,
                policy_version=state.policy.version,
                log_vkey=verifier(self._enclave.origin, state.log_public_key).vkey,
                import_public_key=state.import_public_key,
                ledger_size=self._enclave.size,
                epoch=state.epoch,
            )

        return await guarded(context, work)

    async def _turn(self, name: str, authorization: types_pb2.Envelope, action: Action) -> types_pb2.Key:
        key, version = self._named(name)
        command = change_of(authorization, action)
        parameters = dict(command.statement.parameters)
        if parameters.get("key") != key or (version is not None and parameters.get("version") != str(version)):
            raise Malformed("name", f"the statement is about another key: {command.statement.summary()}")
        return await self._change(command)

    async def _change(self, command: ChangeEnclave) -> types_pb2.Key:
        event = (await self._enclave.change(command)).event
        if not isinstance(event, KeyCreated | KeyStateChanged):
            raise Malformed("authorization", "the statement was used for another change")
        return self._show(event.key, event.version)

    def _named(self, name: str) -> tuple[KeyId, int | None]:
        enclave, key, version = parse_key_name("name", name)
        if enclave != self._enclave.state.enclave:
            raise NotFound(f"this server has no enclave {enclave}")
        return key, version

    def _show(self, key: KeyId, version: int | None) -> types_pb2.Key:
        state = self._enclave.state
        return key_to_proto(state.enclave, find_key(state, key, version))
