"""How things stand, and what members say: the conversation under every change of power.

The certificate opens the door; the statement that a member signs is the change. Whatever is sent again is the same
again, so retries are safe. ``changes`` has a method for each change.
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping

import grpc

from keyvault.client.caller import Caller
from keyvault.client.errors import (
    SILENT,
    OtherLog,
    SignatureMismatch,
    UnusableAnswer,
    error_of,
    fault_of_call,
    invalid,
)
from keyvault.client.names import KeyName
from keyvault.client.proposals import proposal_of
from keyvault.client.results import EnclaveInfo, Key, PairInfo, Proposal, PublishedCharter, PublishedPolicy
from keyvault.client.statements import MemberSigner, make_statement, say
from keyvault.core import limits
from keyvault.core.apply import enclave_id_of
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import STRICT, Duty
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import Genesis
from keyvault.core.ids import Epoch, UnixMillis
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.marks import Mark, Quarantine
from keyvault.core.proposals import Outcome
from keyvault.core.statements import DUTIES, Action, FreezeScope, Statement
from keyvault.core.token_words import IN_CLEAR
from keyvault.ledger import wire
from keyvault.ledger.checkpoint import is_same_log
from keyvault.ledger.codec import decode
from keyvault.ledger.codec_charter import decode_charter
from keyvault.ledger.codec_policy import decode_policy
from keyvault.ledger.errors import Unproven
from keyvault.ledger.note import parse_vkey
from keyvault.ledger.proof import verify_proof
from keyvault.v1 import audit_pb2, governance_pb2, keys_pb2, types_pb2


class Governance(Caller):
    """Keys, policy, charter and proposals of one enclave."""

    # How things stand -------------------------------------------------------------------------------------------

    async def get_enclave(self) -> EnclaveInfo:
        """Return what is known of the enclave. Raises SignatureMismatch if it is not the one that is expected."""
        request = keys_pb2.GetEnclaveRequest(name=self._parent)
        message = await self.transport.call(lambda at: at.keys.GetEnclave, request)
        if message.name != self._parent:
            raise SignatureMismatch(f"asked for {self._parent}, the server describes {message.name[:200]!r}")
        if self._enclave_id not in (None, message.enclave_id):
            raise SignatureMismatch(f"the enclave's id is {message.enclave_id.hex()}, another one is expected")
        if not _is_expected(self._log_vkey, message.log_vkey):
            raise OtherLog(f"the server's log key is {message.log_vkey[:200]!r}, expected is {self._log_vkey!r}")
        self._enclave_id, self._log_vkey = message.enclave_id, message.log_vkey
        return EnclaveInfo(
            name=message.name,
            enclave_id=message.enclave_id,
            policy_version=message.policy_version,
            log_vkey=message.log_vkey,
            import_public_key=message.import_public_key,
            ledger_size=message.ledger_size,
            epoch=message.epoch,
            charter_version=message.charter_version,
            incarnation=message.incarnation or 1,
            quarantine=_quarantine(message.quarantine) if message.HasField("quarantine") else None,
            keys_move=message.keys_move,
            joined_nodes=tuple(message.joined_nodes),
            pair=_pair(message.pair) if message.HasField("pair") else None,
        )

    async def proven_enclave(self) -> EnclaveInfo:
        """Return what ``get_enclave`` does, if the ledger's first entry says the same; for members and auditors.

        Nothing is signed for an enclave, and no secret wrapped for it, on the word of a server: the log's key, which
        members pin, proves the entry. Raises SignatureMismatch.
        """
        enclave = await self.get_enclave()
        await self._check_genesis(enclave)
        return enclave

    async def _check_genesis(self, enclave: EnclaveInfo) -> Genesis:
        first = self._genesis = self._genesis or await self._proven_genesis(enclave.log_vkey)
        said = (enclave.enclave_id, enclave.import_public_key, self.enclave)
        if said != (enclave_id_of(first), first.import_public_key, first.enclave):
            raise SignatureMismatch("the server describes another enclave than the ledger's first entry does")
        return first

    async def stays_in_one_token(self, said: Statement) -> bool:
        """Return whether a key that is asked for would stay in the token that makes it, though the enclave's keys move.

        For members and auditors. The ledger's first entry says whether its token wraps Ed25519 keys; what it does not
        wrap moves by its seed, which members have to allow when they create the key.
        """
        if said.action not in {Action.KEY_CREATE, Action.KEY_ROTATE}:
            return False
        first = await self._check_genesis(await self.get_enclave())
        if first.sealed is None or not first.sealed.log_key_plaintext:
            return False
        if said.action is Action.KEY_CREATE:
            return said["algorithm"] == KeyAlgorithm.ED25519 and IN_CLEAR not in dict(said.parameters)
        newest = max(await self.list_keys(said["key"]), key=lambda found: found.version)
        return newest.algorithm is KeyAlgorithm.ED25519 and not newest.sealed

    async def _proven_genesis(self, log_vkey: str) -> Genesis:
        request = audit_pb2.GetInclusionProofRequest(parent=self._parent, index=0)
        message = await self.transport.call(lambda at: at.audit.GetInclusionProof, request)
        try:
            key = parse_vkey(log_vkey)
            index, _ = verify_proof(message.proof.encode(), message.entry, key)
            first = decode(message.entry)
        except (Unproven, Malformed, Corrupt) as error:
            raise SignatureMismatch(f"the ledger's first entry is not proven: {error}") from None
        if index or not isinstance(first, Genesis) or first.log_public_key != key.public_key:
            raise SignatureMismatch("the ledger's first entry is not the genesis of this log's key")
        return first

    async def get_key(self, key: str) -> Key:
        """Return one key: the primary version, or the one that is named."""
        name = self._key_name(key)
        request = keys_pb2.GetKeyRequest(name=name.resource)
        return self._keybook.key_of(name, await self.transport.call(lambda at: at.keys.GetKey, request))

    async def list_keys(self, key: str | None = None) -> tuple[Key, ...]:
        """Return the primary versions of all keys by name, or all versions of one key."""
        parent = self._parent if key is None else self._key_name(key).resource
        keys: list[Key] = []
        token = ""
        while True:
            request = keys_pb2.ListKeysRequest(parent=parent, page_token=token)
            page = await self.transport.call(lambda at: at.keys.ListKeys, request)
            keys += (self._keybook.key_of(self._listed(each), each) for each in page.keys)
            token = page.next_page_token
            if not token:
                return tuple(keys)
            if len(keys) >= limits.KEYS_MAX or not page.keys:
                raise UnusableAnswer("the list of keys does not end")

    async def get_policy(self) -> PublishedPolicy:
        """Return the policy in force."""
        request = governance_pb2.GetPolicyRequest(parent=self._parent)
        message = await self.transport.call(lambda at: at.governance.GetPolicy, request)
        _check_hash(message.document, message.sha256)
        try:
            policy = decode_policy(message.document)
        except Malformed as error:
            raise UnusableAnswer(f"the policy document cannot be read: {error}") from None
        return PublishedPolicy(policy=policy, document=message.document, sha256=message.sha256)

    async def get_charter(self) -> PublishedCharter:
        """Return the charter in force."""
        request = governance_pb2.GetCharterRequest(parent=self._parent)
        message = await self.transport.call(lambda at: at.governance.GetCharter, request)
        _check_hash(message.document, message.sha256)
        try:
            charter = decode_charter(message.document)
        except Malformed as error:
            raise UnusableAnswer(f"the charter cannot be read: {error}") from None
        self._charter_version = charter.version
        self._delays = {each.duty: each.delay_ms for each in charter.thresholds}
        return PublishedCharter(charter=charter, document=message.document, sha256=message.sha256)

    async def list_freezes(self) -> tuple[tuple[FreezeScope, str], ...]:
        """Return what is frozen: scope and name; the name of the whole enclave is empty."""
        request = governance_pb2.ListFreezesRequest(parent=self._parent)
        message = await self.transport.call(lambda at: at.governance.ListFreezes, request)
        try:
            return tuple((wire.FREEZE_SCOPES.word("scope", each.scope), each.name) for each in message.freezes)
        except Malformed as error:
            raise UnusableAnswer(f"a freeze cannot be read: {error}") from None

    async def get_proposal(self, name: str) -> Proposal:
        """Return a proposal that is open, or ended lately: by its name, its 64 hex digits, or the first 8 or more.

        Raises SignatureMismatch if what came is not what the statement names.
        """
        request = governance_pb2.GetProposalRequest(name=self._proposal_name(name))
        message = await self.transport.call(lambda at: at.governance.GetProposal, request)
        return self._asked_for(request, message)

    async def list_proposals(self, *, include_closed: bool = False) -> tuple[Proposal, ...]:
        """Return the open proposals, the newest first, without payloads and documents; closed ones, too, if asked."""
        found: list[Proposal] = []
        token = ""
        while True:
            request = governance_pb2.ListProposalsRequest(
                parent=self._parent,
                include_closed=include_closed,
                page_size=limits.PROPOSAL_PAGE_MAX,
                page_token=token,
            )
            page = await self.transport.call(lambda at: at.governance.ListProposals, request)
            found += (self._proposal(each, whole=False) for each in page.proposals)
            token = page.next_page_token
            if not token:
                return tuple(found)
            if not page.proposals or len(found) > limits.OPEN_PROPOSALS_MAX + limits.CLOSED_PROPOSALS_REMEMBERED:
                raise UnusableAnswer("the list of proposals does not end")

    async def watch_proposal(self, name: str) -> AsyncGenerator[Proposal, None]:
        """Yield the proposal as it is, then after each change, until it has ended; goes on after a broken call.

        As long as a server is there it takes as long as members do. Raises the last error when none could be reached
        for ``deadline_s``.
        """
        request = governance_pb2.GetProposalRequest(name=self._proposal_name(name))
        transport, route, last = self.transport, self.transport.route(), None
        deadline: float | None = None
        while True:
            call = transport.endpoints[route.at].governance.WatchProposal(request)
            try:
                message = await transport.first(call)
                while isinstance(message, governance_pb2.Proposal):
                    route.answered()
                    deadline = None
                    shown = self._asked_for(request, message)
                    if shown != last:
                        last = shown
                        yield shown
                    if shown.outcome is not Outcome.OPEN:
                        return
                    message = await call.read()
                raise UnusableAnswer("the server ended a watch before the proposal had ended")
            except grpc.aio.AioRpcError as error:
                failed = error_of(fault_of_call(error))
            except TimeoutError:
                failed = error_of(SILENT)
            finally:
                call.cancel()
            deadline = deadline or transport.timing.monotonic() + transport.deadline_s
            await transport.pause(route.next_or_raise(failed, deadline))

    async def settled(self, proposal: Proposal) -> Proposal:
        """Return the proposal when it has ended; one that is approved ends when its delay is over."""
        async for seen in self.watch_proposal(proposal.name):
            proposal = seen
        return proposal

    # What members say -------------------------------------------------------------------------------------------

    def make_statement(
        self,
        enclave: EnclaveInfo,
        action: Action,
        parameters: Mapping[str, str],
        *,
        requester: str,
        life_ms: int | None = None,
    ) -> Statement:
        """Return a statement for this enclave that ends ``life_ms`` from now.

        Default: PROPOSAL_LIFE_MS, and the delay that the action has in the charter, if ``get_charter`` was called (of a
        new charter the longest, for it may shorten it); at most PROPOSAL_LIFE_MS_MAX.
        """
        duty = DUTIES.get(action, Duty.POLICY_LOOSEN)
        otherwise = Duty.CHARTER if duty in STRICT else duty  # ``core.charter`` law 5
        own_ms = self._delays.get(duty, self._delays.get(otherwise, 0))
        delay_ms = max(self._delays.values(), default=0) if duty is Duty.CHARTER else own_ms
        longest = min(limits.PROPOSAL_LIFE_MS + delay_ms, limits.PROPOSAL_LIFE_MS_MAX)
        expires_at = self.transport.timing.now_ms() + (longest if life_ms is None else life_ms)
        try:
            return make_statement(enclave, action, parameters, requester=requester, expires_at=expires_at)
        except Malformed as error:
            raise invalid(error) from None

    async def propose(
        self, statement: Statement, signer: MemberSigner, *, document: bytes = b"", wrapped_secret: bytes = b""
    ) -> Proposal:
        """Ask for a change as this member; return the proposal, done already if nobody else need be asked.

        ``document`` goes with policy.publish, charter.change and break-glass, ``wrapped_secret`` with imports.
        """
        payload = statement.encode()
        request = governance_pb2.ProposeChangeRequest(
            parent=self._parent,
            statement=payload,
            signature=_to_proto(say(payload, Voice.REQUEST, signer)),
            document=document,
            wrapped_secret=wrapped_secret,
        )
        message = await self.transport.call(lambda at: at.governance.ProposeChange, request)
        return self._same(self._proposal(message), payload)

    async def cast(self, proposal: Proposal, voice: Voice, signer: MemberSigner) -> Proposal:
        """Say something to a proposal as this member; return it as it then is.

        A yes is given only to a proposal of the enclave that the ledger's first entry proves: SignatureMismatch.
        """
        if voice is Voice.APPROVE:
            first = self._genesis or await self._check_genesis(await self.get_enclave())
            if proposal.said.enclave_id != enclave_id_of(first).hex():
                raise SignatureMismatch(f"the proposal is for enclave {proposal.said.enclave_id}, this is another one")
        request = governance_pb2.CastBallotRequest(
            name=proposal.name,
            voice=wire.VOICES.numbers[voice],
            signature=_to_proto(say(proposal.statement, voice, signer)),
        )
        message = await self.transport.call(lambda at: at.governance.CastBallot, request)
        return self._same(self._proposal(message), proposal.statement)

    # ------------------------------------------------------------------------------------------------------------

    def _proposal(self, message: governance_pb2.Proposal, *, whole: bool = True) -> Proposal:
        proposal = proposal_of(self.enclave, self._enclave_id, message, whole=whole)
        self._enclave_id = bytes.fromhex(proposal.said.enclave_id)
        return proposal

    def _asked_for(self, request: governance_pb2.GetProposalRequest, message: governance_pb2.Proposal) -> Proposal:
        if not message.name.startswith(request.name):
            raise SignatureMismatch(f"asked for {request.name}, the server shows {message.name[:200]!r}")
        return self._proposal(message)

    def _same(self, proposal: Proposal, statement: bytes) -> Proposal:
        if proposal.statement != statement:
            raise SignatureMismatch("the server answers about another statement than the one that was signed")
        return proposal

    def _proposal_name(self, text: str) -> str:
        prefix = f"{self._parent}/proposals/"
        return text if text.startswith("enclaves/") else prefix + text

    def _listed(self, message: types_pb2.Key) -> KeyName:
        try:
            return KeyName.of_resource(self.enclave, message.name)
        except Malformed as error:
            raise UnusableAnswer(f"a key that was not asked for is listed: {error}") from None


def _is_expected(pinned: str | None, named: str) -> bool:
    """Return whether a server's log key is the pinned one; each incarnation of a ledger has it under its own name."""
    if pinned in (None, named):
        return True
    try:
        return is_same_log(parse_vkey(pinned or ""), parse_vkey(named))
    except Malformed:
        return False


def _pair(message: keys_pb2.Pair) -> PairInfo:
    return PairInfo(
        leader=message.leader,
        followers=tuple(message.followers),
        term_node=message.term_node,
        stands=message.stands,
        position=message.position,
        decided_at=UnixMillis(message.decided_at_ms),
    )


def _quarantine(message: keys_pb2.Quarantine) -> Quarantine:
    lost = Mark(
        incarnation=message.lost_incarnation,
        epoch=Epoch(message.lost_epoch),
        size=message.lost_position,
        root=message.lost_root,
    )
    return Quarantine(position=message.position, lost=lost, found=message.found, of_node=message.of_node)


def _to_proto(signature: EnvelopeSignature) -> types_pb2.MemberSignature:
    return wire.member_signature_to_proto(signature)


def _check_hash(document: bytes, sha256: bytes) -> None:
    if hashlib.sha256(document).digest() != sha256:
        raise SignatureMismatch("the document does not have the hash that the server gives it")
