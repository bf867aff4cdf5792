"""Every change that members can ask for, a method each.

Each asks as ``signer``, and approves as each of ``approvers`` at once: for scripts, and for enclaves whose members'
keys are in one hand. Where they are with people, leave ``approvers`` out: the proposal that comes back is open, and
everybody approves it from their own machine (``cast``, or ``keyvault approve``).
"""

import hashlib
from collections.abc import Mapping, Sequence

from keyvault.client.errors import invalid
from keyvault.client.governance import Governance
from keyvault.client.results import EnclaveInfo, Proposal
from keyvault.client.statements import MemberSigner
from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import AT_ONCE, Charter, Duty
from keyvault.core.errors import Malformed
from keyvault.core.ids import Principal
from keyvault.core.keys import KeyAlgorithm, KeyState, KeyTransport
from keyvault.core.pair_words import followers_text
from keyvault.core.policy import Policy
from keyvault.core.policy_change import is_tightening
from keyvault.core.proposals import Outcome
from keyvault.core.replay_read import ReplayRead
from keyvault.core.statements import DUTIES, NO_REPLAY, Action, FreezeScope
from keyvault.core.token_words import IN_CLEAR
from keyvault.core.wrap import wrap_secret
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy


class Changes(Governance):
    """Changes of one enclave. All return the proposal as it is then; ``outcome`` says whether it is done."""

    async def change(
        self,
        action: Action,
        parameters: Mapping[str, str],
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        document: bytes = b"",
        wrapped_secret: bytes = b"",
        life_ms: int | None = None,
        duty: Duty | None = None,
    ) -> Proposal:
        """Ask for a change, and approve it as each of the approvers.

        ``duty`` is the action's own if None. What one member may do at once is asked for without the proof that
        everything else waits for: it stops things, and has to go through when the token signs no checkpoint.
        Raises Denied if the signer may not ask, PreconditionFailed if it does not fit the state, policy or time.
        """
        stops = (duty or DUTIES.get(action)) in AT_ONCE
        enclave = await (self.get_enclave() if stops else self.proven_enclave())
        if not stops and self._charter_version != enclave.charter_version:
            await self.get_charter()  # for the delay that the proposal must outlive
        statement = self.make_statement(enclave, action, parameters, requester=signer.member, life_ms=life_ms)
        proposal = await self.propose(statement, signer, document=document, wrapped_secret=wrapped_secret)
        for approver in approvers:
            if proposal.outcome is Outcome.OPEN:
                proposal = await self.cast(proposal, Voice.APPROVE, approver)
        return proposal

    # Keys ---------------------------------------------------------------------------------------------------------

    async def create_key(
        self,
        key: str,
        algorithm: KeyAlgorithm,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        initial: KeyState = KeyState.ACTIVE,
        cryptoperiod_days: int = 0,
        propose_rotation: bool = False,
        plaintext_transport: bool = False,
    ) -> Proposal:
        """Make a key in the token. ``cryptoperiod_days`` 0: it is never due for rotation.

        ``plaintext_transport``: an Ed25519 key may go to other tokens by its seed, which is then in clear in a worker
        for a moment. Without it such a key stays in one token where the token cannot wrap it.
        """
        parameters = {
            "key": self._key_name(key).key,
            "algorithm": algorithm.value,
            "initial": initial.value,
            "cryptoperiod_days": str(cryptoperiod_days),
            "rotation": "propose" if propose_rotation else "warn",
        }
        if plaintext_transport:
            parameters[IN_CLEAR] = "allowed"
        return await self.change(Action.KEY_CREATE, parameters, signer=signer, approvers=approvers)

    async def import_hmac_key(
        self,
        key: str,
        secret: bytes,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        algorithm: KeyAlgorithm = KeyAlgorithm.HMAC_SHA256,
        initial: KeyState = KeyState.ACTIVE,
        cryptoperiod_days: int = 0,
    ) -> Proposal:
        """Wrap an HMAC secret here, so that only the token can open it, and make it a key there.

        ``secret`` is what the HMAC is made with: a venue that shows it as Base64 or hex means the bytes.
        """
        wrapped = _wrapped(await self.proven_enclave(), secret, algorithm)
        parameters = {
            "key": self._key_name(key).key,
            "algorithm": algorithm.value,
            "initial": initial.value,
            "cryptoperiod_days": str(cryptoperiod_days),
            "rotation": "warn",
            "wrapped_sha256": hashlib.sha256(wrapped).hexdigest(),
        }
        return await self.change(
            Action.KEY_IMPORT, parameters, signer=signer, approvers=approvers, wrapped_secret=wrapped
        )

    async def rotate_key(
        self,
        key: str,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        initial: KeyState = KeyState.ACTIVE,
        secret: bytes | None = None,
    ) -> Proposal:
        """Make the next version, which takes the primary's place as soon as it is active.

        ``secret`` goes with a key that was imported.
        """
        name = self._key_name(key)
        newest = max(await self.list_keys(name.key), key=lambda found: found.version)
        wrapped = b"" if secret is None else _wrapped(await self.proven_enclave(), secret, newest.algorithm)
        parameters = {
            "key": name.key,
            "version": str(newest.version + 1),
            "initial": initial.value,
            "wrapped_sha256": hashlib.sha256(wrapped).hexdigest() if wrapped else "",
        }
        return await self.change(
            Action.KEY_ROTATE, parameters, signer=signer, approvers=approvers, wrapped_secret=wrapped
        )

    async def enable_key(
        self, key: str, *, signer: MemberSigner, approvers: Sequence[MemberSigner] = (), version: int | None = None
    ) -> Proposal:
        """Let a version that is disabled or pre-active sign. Without ``version``: the primary."""
        return await self._turn(Action.KEY_ENABLE, key, version, signer, approvers)

    async def disable_key(
        self, key: str, *, signer: MemberSigner, approvers: Sequence[MemberSigner] = (), version: int | None = None
    ) -> Proposal:
        """Let a version sign nothing any more, from the next decision on; one member's signature is enough."""
        return await self._turn(Action.KEY_DISABLE, key, version, signer, approvers)

    async def destroy_key(
        self,
        key: str,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        version: int | None = None,
        after_days: int = limits.DESTRUCTION_DAYS,
    ) -> Proposal:
        """Schedule the destruction of a version; it is disabled when this is approved."""
        parameters = {**await self._version(key, version), "after_days": str(after_days)}
        return await self.change(Action.KEY_DESTROY, parameters, signer=signer, approvers=approvers)

    async def keep_key(
        self, key: str, *, signer: MemberSigner, approvers: Sequence[MemberSigner] = (), version: int | None = None
    ) -> Proposal:
        """Do not destroy a version that was to be; it stays disabled."""
        return await self._turn(Action.KEY_KEEP, key, version, signer, approvers)

    # Policy, charter, freezes, ceremonies -------------------------------------------------------------------------

    async def publish_policy(
        self,
        policy: Policy,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        replay: ReplayRead | None = None,
    ) -> Proposal:
        """Publish the next policy; its version must be one more than that in force.

        ``replay``: the report of ``keyvault policy replay``; members read what it says of how many requests.
        """
        document = encode_policy(policy)
        current = (await self.get_policy()).policy
        parameters = {
            "policy_sha256": hashlib.sha256(document).hexdigest(),
            "version": str(policy.version),
            **({"replay_sha256": NO_REPLAY} if replay is None else replay.parameters()),
        }
        return await self.change(
            Action.POLICY_PUBLISH,
            parameters,
            signer=signer,
            approvers=approvers,
            document=document,
            duty=Duty.POLICY_TIGHTEN if is_tightening(current, policy) else Duty.POLICY_LOOSEN,
        )

    async def change_charter(
        self,
        charter: Charter,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
        break_glass_reason: str | None = None,
    ) -> Proposal:
        """Replace members, groups and thresholds; the version must be one more than that in force.

        With a reason: by break-glass, for when the charter's own threshold cannot be met.
        """
        try:
            document = encode_charter(charter)
        except Malformed as error:
            raise invalid(error) from None
        parameters = {"charter_sha256": hashlib.sha256(document).hexdigest(), "version": str(charter.version)}
        action = Action.CHARTER_CHANGE
        if break_glass_reason is not None:
            action = Action.BREAK_GLASS
            parameters["reason"] = break_glass_reason
        return await self.change(
            action,
            parameters,
            signer=signer,
            approvers=approvers,
            document=document,
        )

    async def freeze(
        self, scope: FreezeScope, name: str, *, signer: MemberSigner, approvers: Sequence[MemberSigner] = ()
    ) -> Proposal:
        """Let nothing be signed for a key, a principal, a venue or the whole enclave (name ""), at once."""
        return await self.change(Action.FREEZE, {"scope": scope, "name": name}, signer=signer, approvers=approvers)

    async def thaw(
        self, scope: FreezeScope, name: str, *, signer: MemberSigner, approvers: Sequence[MemberSigner] = ()
    ) -> Proposal:
        """Lift a freeze."""
        return await self.change(Action.THAW, {"scope": scope, "name": name}, signer=signer, approvers=approvers)

    async def record_ceremony_step(
        self,
        ceremony: str,
        step: int,
        record_sha256: bytes,
        *,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
    ) -> Proposal:
        """Let members vouch for a step of a ceremony, whose record has this SHA-256."""
        parameters = {"ceremony": ceremony, "step": str(step), "record_sha256": record_sha256.hex()}
        return await self.change(Action.CEREMONY_STEP, parameters, signer=signer, approvers=approvers)

    async def leave_quarantine(
        self, reason: str, *, signer: MemberSigner, approvers: Sequence[MemberSigner] = ()
    ) -> Proposal:
        """Let a restored ledger go on, and give up what the server says was seen and is lost.

        Whoever approves should know why the newest ledger is gone: nobody can get back what is given up. Raises
        InvalidRequest if the enclave is not in quarantine.
        """
        enclave = await self.proven_enclave()
        quarantine = enclave.quarantine
        if quarantine is None:
            raise invalid(Malformed("quarantine", f"{enclave.name} is not in quarantine"))
        lost = quarantine.lost
        parameters = {
            "incarnation": str(max(enclave.incarnation, lost.incarnation) + 1),
            "position": str(quarantine.position),
            "lost_incarnation": str(lost.incarnation),
            "lost_epoch": str(lost.epoch),
            "lost_position": str(lost.size),
            "lost_root": lost.root.hex(),
            "reason": reason,
        }
        return await self.change(Action.LEAVE_QUARANTINE, parameters, signer=signer, approvers=approvers)

    async def set_pair(
        self,
        leader: str,
        followers: Sequence[str] = (),
        *,
        reason: str,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
    ) -> Proposal:
        """Name who leads a pair, and who must have every entry before anything is given out; by their SPIFFE ids.

        For the present epoch only. Where a node stands it must be asked itself, and whoever approves should know that
        no other machine signs: what others have beyond it is given up. Raises InvalidRequest if the server is no node.
        """
        enclave = await self.proven_enclave()
        pair = enclave.pair
        if pair is None:
            raise invalid(Malformed("pair", f"the server of {enclave.name} has no [pair] in its configuration"))
        parameters = {
            "leader": leader,
            "followers": followers_text(tuple(map(Principal, followers))),
            "epoch": str(enclave.epoch),
            "stands": "yes" if pair.stands else "no",
            "position": str(pair.position if pair.stands else 0),
            "decided_at_ms": str(pair.decided_at if pair.stands else 0),
            "reason": reason,
        }
        return await self.change(Action.PAIR_SET, parameters, signer=signer, approvers=approvers)

    async def join_token(
        self,
        node: str,
        transport_public_key: bytes,
        *,
        reason: str,
        signer: MemberSigner,
        approvers: Sequence[MemberSigner] = (),
    ) -> Proposal:
        """Give a node's token, known by its transport key (SubjectPublicKeyInfo, DER), the power to open every key."""
        parameters = {
            "node": node,
            "transport_key_sha256": hashlib.sha256(transport_public_key).hexdigest(),
            "strategy": KeyTransport.KWP.value,
            "reason": reason,
        }
        return await self.change(
            Action.TOKEN_JOIN, parameters, signer=signer, approvers=approvers, document=transport_public_key
        )

    async def leave_token(
        self, node: str, *, reason: str, signer: MemberSigner, approvers: Sequence[MemberSigner] = ()
    ) -> Proposal:
        """Strike a node's token off the list. It can open what it could: only its destruction ends that."""
        parameters = {"node": node, "reason": reason}
        return await self.change(Action.TOKEN_LEAVE, parameters, signer=signer, approvers=approvers)

    # ----------------------------------------------------------------------------------------------------------------

    async def _turn(
        self, action: Action, key: str, version: int | None, signer: MemberSigner, approvers: Sequence[MemberSigner]
    ) -> Proposal:
        return await self.change(action, await self._version(key, version), signer=signer, approvers=approvers)

    async def _version(self, key: str, version: int | None) -> dict[str, str]:
        found = await self.get_key(key if version is None else f"{self._key_name(key).key}/versions/{version}")
        return {"key": found.key, "version": str(found.version)}


def _wrapped(enclave: EnclaveInfo, secret: bytes, algorithm: KeyAlgorithm) -> bytes:
    try:
        return wrap_secret(enclave.import_public_key, secret, algorithm)
    except Malformed as error:
        raise invalid(error) from None
