"""Keys and policy: what members change.

The certificate opens the door; the statement that a member signs is the change.

The high-level methods make the statement, have it signed and send it. Where several members must sign, make it once
(``statement``), let everybody sign it (``statements.sign_statement``), and send the envelope (``apply_change``). A
change that is sent again is the same change, so retries are safe.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping

from keyvault.client.caller import Caller
from keyvault.client.errors import SignatureMismatch, UnusableAnswer, invalid
from keyvault.client.names import KeyName
from keyvault.client.results import EnclaveInfo, Key, PublishedPolicy
from keyvault.client.statements import MemberSigner, make_statement, sign_statement
from keyvault.core import limits
from keyvault.core.approvals import Action, Envelope, Statement, decode_statement
from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import Policy
from keyvault.core.wrap import wrap_secret
from keyvault.ledger import wire
from keyvault.ledger.codec_policy import decode_policy, encode_policy
from keyvault.v1 import governance_pb2, keys_pb2, types_pb2


class Admin(Caller):
    """Keys and policy of one enclave."""

    # Reading ---------------------------------------------------------------------------------------------------

    async def get_enclave(self) -> EnclaveInfo:
        """Return what is known of the enclave. Raises SignatureMismatch if it is not the one that is expected."""
        request = keys_pb2.GetEnclaveRequest(name=self._parent)
        message = await self.transport.call(self.transport.keys.GetEnclave, request)
        if message.name != self._parent:
            raise SignatureMismatch(f"asked for {self._parent}, the server describes {message.name[:200]!r}")
        if self._enclave_id not in (None, message.enclave_id):
            raise SignatureMismatch(f"the enclave's id is {message.enclave_id.hex()}, another one is expected")
        if self._log_vkey not in (None, message.log_vkey):
            raise SignatureMismatch(f"the log's key is {message.log_vkey[:200]!r}, another one is expected")
        self._enclave_id, self._log_vkey = message.enclave_id, message.log_vkey
        return EnclaveInfo(
            name=message.name,
            enclave_id=message.enclave_id,
            policy_version=message.policy_version,
            log_vkey=message.log_vkey,
            import_public_key=message.import_public_key,
            ledger_size=message.ledger_size,
            epoch=message.epoch,
        )

    async def get_key(self, key: str) -> Key:
        """Return one key."""
        name = self._key_name(key)
        request = keys_pb2.GetKeyRequest(name=name.resource)
        return self._keybook.key_of(name, await self.transport.call(self.transport.keys.GetKey, request))

    async def list_keys(self) -> tuple[Key, ...]:
        """Return all keys by name, at most KEYS_MAX."""
        keys: list[Key] = []
        token = ""
        while True:
            request = keys_pb2.ListKeysRequest(parent=self._parent, page_token=token)
            page = await self.transport.call(self.transport.keys.ListKeys, request)
            keys += (self._keybook.key_of(self._listed(each), each) for each in page.keys)
            token = page.next_page_token
            if not token:
                return tuple(keys)
            if len(keys) >= limits.KEYS_MAX or not page.keys:
                raise UnusableAnswer("the list of keys does not end")

    async def get_policy(self) -> PublishedPolicy:
        """Return the policy in force."""
        request = governance_pb2.GetPolicyRequest(parent=self._parent)
        return _policy(await self.transport.call(self.transport.governance.GetPolicy, request))

    # Changing --------------------------------------------------------------------------------------------------

    async def create_key(self, key: str, algorithm: KeyAlgorithm, *, signer: MemberSigner) -> Key:
        """Make a key in the token. Raises Denied if the signer may not, PreconditionFailed if the key exists."""
        parameters = {"key": self._key_name(key).key, "algorithm": algorithm.value}
        return self._changed(await self._change(Action.KEY_CREATE, parameters, signer))

    async def import_hmac_key(self, key: str, secret: bytes, *, signer: MemberSigner) -> Key:
        """Wrap an HMAC-SHA256 secret here, so that only the token can open it, and make it a key there."""
        name = self._key_name(key)
        enclave = await self.get_enclave()
        try:
            wrapped = wrap_secret(enclave.import_public_key, secret)
        except Malformed as error:
            raise invalid(error) from None
        parameters = {
            "key": name.key,
            "algorithm": KeyAlgorithm.HMAC_SHA256.value,
            "wrapped_sha256": hashlib.sha256(wrapped).hexdigest(),
        }
        said = self.make_statement(enclave, Action.KEY_IMPORT, parameters, requester=signer.member)
        return self._changed(await self.apply_change(sign_statement(said, signer), wrapped_secret=wrapped))

    async def disable_key(self, key: str, *, signer: MemberSigner) -> Key:
        """Let the key sign nothing any more, from the next decision on."""
        return await self._turn(key, Action.KEY_DISABLE, signer)

    async def enable_key(self, key: str, *, signer: MemberSigner) -> Key:
        """Let a disabled key sign again."""
        return await self._turn(key, Action.KEY_ENABLE, signer)

    async def publish_policy(self, policy: Policy, *, signer: MemberSigner) -> PublishedPolicy:
        """Publish the next policy; its version must be one more than that in force."""
        document = encode_policy(policy)
        parameters = {"policy_sha256": hashlib.sha256(document).hexdigest(), "version": str(policy.version)}
        outcome = await self._change(Action.POLICY_PUBLISH, parameters, signer, document=document)
        if not isinstance(outcome, PublishedPolicy):
            raise UnusableAnswer("a policy was published, and a key was answered")
        return outcome

    def make_statement(
        self, enclave: EnclaveInfo, action: Action, parameters: Mapping[str, str], *, requester: str
    ) -> Statement:
        """Return a statement for this enclave that ends CLIENT_STATEMENT_LIFE_MS from now."""
        expires_at = self.transport.timing.now_ms() + limits.CLIENT_STATEMENT_LIFE_MS
        try:
            return make_statement(enclave, action, parameters, requester=requester, expires_at=expires_at)
        except Malformed as error:
            raise invalid(error) from None

    async def apply_change(
        self, envelope: Envelope, *, wrapped_secret: bytes = b"", document: bytes = b""
    ) -> Key | PublishedPolicy:
        """Send a signed statement and return the key, or the policy, as it then is.

        ``wrapped_secret`` goes with key.import, ``document`` with policy.publish.
        """
        try:
            said = decode_statement(envelope.payload)
        except Malformed as error:
            raise invalid(error) from None
        authorization = wire.envelope_to_proto(envelope)
        if said.action is Action.POLICY_PUBLISH:
            request = governance_pb2.PublishPolicyRequest(
                parent=self._parent, authorization=authorization, document=document
            )
            return _policy(await self.transport.call(self.transport.governance.PublishPolicy, request))
        name = self._key_name(dict(said.parameters).get("key", ""))
        return self._keybook.key_of(name, await self._key_call(said.action, name, authorization, wrapped_secret)())

    def _key_call(
        self, action: Action, name: KeyName, authorization: types_pb2.Envelope, wrapped_secret: bytes
    ) -> Callable[[], Awaitable[types_pb2.Key]]:
        call, keys = self.transport.call, self.transport.keys
        match action:
            case Action.KEY_CREATE:
                create = keys_pb2.CreateKeyRequest(parent=self._parent, authorization=authorization)
                return lambda: call(keys.CreateKey, create)
            case Action.KEY_IMPORT:
                imported = keys_pb2.ImportKeyRequest(
                    parent=self._parent, authorization=authorization, wrapped_secret=wrapped_secret
                )
                return lambda: call(keys.ImportKey, imported)
            case Action.KEY_DISABLE:
                disable = keys_pb2.DisableKeyRequest(name=name.resource, authorization=authorization)
                return lambda: call(keys.DisableKey, disable)
            case Action.KEY_ENABLE:
                enable = keys_pb2.EnableKeyRequest(name=name.resource, authorization=authorization)
                return lambda: call(keys.EnableKey, enable)
            case Action.POLICY_PUBLISH:
                raise ValueError(f"{action} is no change of a key")

    async def _change(
        self, action: Action, parameters: Mapping[str, str], signer: MemberSigner, *, document: bytes = b""
    ) -> Key | PublishedPolicy:
        said = self.make_statement(await self.get_enclave(), action, parameters, requester=signer.member)
        return await self.apply_change(sign_statement(said, signer), document=document)

    async def _turn(self, key: str, action: Action, signer: MemberSigner) -> Key:
        found = await self.get_key(key)
        parameters = {"key": found.key, "version": str(found.version)}
        return self._changed(await self._change(action, parameters, signer))

    def _changed(self, outcome: Key | PublishedPolicy) -> Key:
        if isinstance(outcome, Key):
            return outcome
        raise UnusableAnswer("a key was changed, and a policy was answered")

    def _listed(self, message: types_pb2.Key) -> KeyName:
        try:
            return KeyName.of_resource(self.enclave, message.name)
        except Malformed as error:
            raise UnusableAnswer(f"a key that was not asked for is listed: {error}") from None


def _policy(message: governance_pb2.GetPolicyResponse) -> PublishedPolicy:
    if hashlib.sha256(message.document).digest() != message.sha256:
        raise SignatureMismatch("the policy document does not have the hash that the server gives it")
    try:
        policy = decode_policy(message.document)
    except Malformed as error:
        raise UnusableAnswer(f"the policy document cannot be read: {error}") from None
    return PublishedPolicy(policy=policy, document=message.document, sha256=message.sha256)
