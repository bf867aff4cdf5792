"""Signatures and public keys: what bots use."""

from collections.abc import Mapping
from typing import TypeVar

from keyvault.client import payloads
from keyvault.client.caller import Caller
from keyvault.client.errors import UnusableAnswer, invalid
from keyvault.client.names import KeyName
from keyvault.client.request_id import uuid7
from keyvault.client.results import (
    Key,
    Signed,
    SignedDigest,
    SignedExchangeRequest,
    SignedTransaction,
    SignedTypedData,
)
from keyvault.client.verify import Asked, key_version_of, verified
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload
from keyvault.v1 import signing_pb2, types_pb2

S = TypeVar("S", bound=Signed)


class Signing(Caller):
    """Asks for signatures, and believes none.

    Every method takes a ``request_id``, by default a new UUIDv7. After Unavailable or DeadlineExceeded ask again with
    the error's ``request_id``: the answer is the identical signature, or the identical refusal, never a second one.
    """

    async def sign(self, key: str, payload: Payload, *, request_id: str | None = None) -> Signed:
        """Return the verified signature of ``{key}`` or ``{key}/versions/{version}`` over a payload.

        Raises KeyvaultRpcError for what the server says, SignatureMismatch for an answer that is not what the
        expected key signs for exactly these bytes.
        """
        asked = self.asked(key, payload, request_id)
        message = asked.to_proto()
        response = await self.transport.call(self.transport.signing.Sign, message, request_id=asked.request_id)
        return await self.verify(asked, response)

    async def sign_evm_transaction(
        self, key: str, unsigned: bytes, *, request_id: str | None = None
    ) -> SignedTransaction:
        """Sign an unsigned EVM transaction: RLP of 9 items (EIP-155), or 0x02 and RLP (EIP-1559). See ``sign``."""
        signed = await self.sign(key, payloads.evm_transaction(unsigned), request_id=request_id)
        return _narrowed(SignedTransaction, signed)

    async def sign_typed_data(
        self, key: str, document: Mapping[str, object] | str | bytes, *, request_id: str | None = None
    ) -> SignedTypedData:
        """Sign EIP-712 typed data {types, primaryType, domain, message}, as object or JSON text. See ``sign``."""
        try:
            payload = payloads.typed_data(document)
        except Malformed as error:
            raise invalid(error, request_id=request_id or "") from None
        return _narrowed(SignedTypedData, await self.sign(key, payload, request_id=request_id))

    async def sign_binance(
        self, key: str, *, query: str = "", body: str = "", request_id: str | None = None
    ) -> SignedExchangeRequest:
        """Sign a Binance REST request, whose parameters stand in ``query`` or in ``body``. See ``sign``.

        Of a signature by an HMAC key only the form can be checked here; what it was put on is exactly what was sent.
        """
        signed = await self.sign(key, payloads.binance(query=query, body=body), request_id=request_id)
        return _narrowed(SignedExchangeRequest, signed)

    async def sign_digest(self, key: str, digest: bytes, *, request_id: str | None = None) -> SignedDigest:
        """Sign 32 bytes that nobody can look into; the policy must name the key for it. See ``sign``."""
        return _narrowed(SignedDigest, await self.sign(key, payloads.raw_digest(digest), request_id=request_id))

    async def public_key(self, key: str) -> Key:
        """Return the key as the server describes it, and expect exactly this key from now on.

        Raises SignatureMismatch if another one was expected.
        """
        name = self._key_name(key)
        described = self._keybook.key_of(name, await self._fetch(name))
        self._keybook.learn(described)
        return described

    def asked(self, key: str, payload: Payload, request_id: str | None) -> Asked:
        """Return the request with its meaning, or raise InvalidRequest."""
        chosen = str(uuid7()) if request_id is None else request_id
        try:
            return Asked.of(self.enclave, key, payload, chosen)
        except Malformed as error:
            raise invalid(error, request_id=chosen) from None

    async def verify(self, asked: Asked, response: signing_pb2.SignResponse) -> Signed:
        """Return the answer if the expected key signed what was asked; raise SignatureMismatch otherwise."""
        version = key_version_of(asked, response)
        expected = self._keybook.known(version) or await self._keybook.expected(version, self._fetch)
        return verified(asked, response, expected)

    async def _fetch(self, name: KeyName) -> types_pb2.Key:
        request = signing_pb2.GetPublicKeyRequest(name=name.resource)
        return await self.transport.call(self.transport.signing.GetPublicKey, request)


def _narrowed(kind: type[S], signed: Signed) -> S:
    if isinstance(signed, kind):
        return signed
    raise UnusableAnswer(f"{type(signed).__name__} came where {kind.__name__} was asked for")
