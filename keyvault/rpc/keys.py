"""KeyService: keys as they are, and what a member needs to ask for a change."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from keyvault.core.errors import Malformed, NotFound
from keyvault.core.ids import KeyId
from keyvault.core.marks import Quarantine
from keyvault.core.state import State, find_key
from keyvault.engine.served import Served
from keyvault.ledger.note import verifier
from keyvault.rpc.auth import READERS, Context, Door
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


def check_enclave(enclave: Served, field: str, name: str) -> None:
    """Raise unless ``name`` is this enclave's."""
    if parse_enclave(field, name) != enclave.state.enclave:
        raise NotFound(f"this server has no {name}")


class KeyService(keys_pb2_grpc.KeyServiceServicer):
    """Keys of one enclave."""

    def __init__(self, enclave: Served, door: Door) -> None:
        self._enclave = enclave
        self._door = door

    async def GetKey(self, request: keys_pb2.GetKeyRequest, context: Context) -> types_pb2.Key:
        """See keys.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> types_pb2.Key:
            key, version = self._named(request.name)
            return self._show(key, version)

        return await guarded(context, work)

    async def ListKeys(self, request: keys_pb2.ListKeysRequest, context: Context) -> keys_pb2.ListKeysResponse:
        """See keys.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> keys_pb2.ListKeysResponse:
            size = request.page_size or _PAGE_DEFAULT
            if not 0 < size <= _PAGE_MAX:
                raise Malformed("page_size", f"must be 1 to {_PAGE_MAX}, or 0 for {_PAGE_DEFAULT}")
            listed = self._listed(request.parent)
            names = sorted(name for name in listed if name > request.page_token)
            page = names[:size]
            return keys_pb2.ListKeysResponse(
                keys=[listed[name] for name in page],
                next_page_token=page[-1] if len(names) > size else "",
            )

        return await guarded(context, work)

    async def GetEnclave(self, request: keys_pb2.GetEnclaveRequest, context: Context) -> keys_pb2.Enclave:
        """See keys.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> keys_pb2.Enclave:
            check_enclave(self._enclave, "name", request.name)
            state, quarantine = self._enclave.state, self._enclave.quarantine
            return keys_pb2.Enclave(
                name=f"enclaves/{state.enclave}",
                enclave_id=state.enclave_id,
                policy_version=state.policy.version,
                log_vkey=verifier(self._enclave.origin, state.log_public_key).vkey,
                import_public_key=state.import_public_key,
                ledger_size=self._enclave.size,
                epoch=state.epoch,
                charter_version=state.rulers.charter.version,
                incarnation=state.incarnation,
                quarantine=None if quarantine is None else _quarantine_to_proto(quarantine),
                keys_move=state.tokens.roots is not None,
                joined_nodes=sorted(state.tokens.joined),
                pair=_pair_to_proto(state),
            )

        return await guarded(context, work)

    def _listed(self, parent: str) -> dict[str, types_pb2.Key]:
        """Return what the page is cut from, by sortable name: all keys' primaries, or all versions of one key."""
        if "/keys/" not in parent:
            check_enclave(self._enclave, "parent", parent)
            return {key: self._show(key, None) for key in self._enclave.shown().keys}
        key, version = self._named(parent)
        if version is not None:
            raise Malformed("parent", "names a version; list the versions of enclaves/{enclave}/keys/{key}")
        state = self._enclave.shown()
        find_key(state, key, None)
        return {f"{each:09}": self._show(key, each) for each in state.keys[key].versions}

    def _named(self, name: str) -> tuple[KeyId, int | None]:
        enclave, key, version = parse_key_name("name", name)
        if enclave != self._enclave.state.enclave:
            raise NotFound(f"this server has no enclave {enclave}")
        return key, version

    def _show(self, key: KeyId, version: int | None) -> types_pb2.Key:
        state = self._enclave.shown()
        return key_to_proto(state, find_key(state, key, version))


def _pair_to_proto(state: State) -> keys_pb2.Pair | None:
    if state.pair is None and not state.term_node:
        return None
    return keys_pb2.Pair(
        leader="" if state.pair is None else state.pair.leader,
        followers=() if state.pair is None else state.pair.followers,
        term_node=state.term_node,
        stands=state.stands,
        position=state.decided,
        decided_at_ms=state.decided_at,
    )


def _quarantine_to_proto(quarantine: Quarantine) -> keys_pb2.Quarantine:
    lost = quarantine.lost
    return keys_pb2.Quarantine(
        position=quarantine.position,
        lost_incarnation=lost.incarnation,
        lost_epoch=lost.epoch,
        lost_position=lost.size,
        lost_root=lost.root,
        found=quarantine.found,
        of_node=quarantine.of_node,
    )
