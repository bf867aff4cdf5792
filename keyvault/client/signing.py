"""Signatures and public keys: what bots use."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from keyvault.client import payloads
from keyvault.client.caller import Caller
from keyvault.client.errors import invalid
from keyvault.client.names import KeyName
from keyvault.client.request_id import uuid7
from keyvault.client.results import (
    Key,
    Signed,
    SignedBytes,
    SignedDigest,
    SignedExchangeRequest,
    SignedTransaction,
    SignedTypedData,
    narrowed,
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
        response = await self.transport.call(lambda at: at.signing.Sign, message, request_id=asked.request_id)
        return await self.verify(asked, response)

    async def sign_evm_transaction(
        self, key: str, unsigned: bytes, *, request_id: str | None = None
    ) -> SignedTransaction:
        """Sign an unsigned EVM transaction: RLP of 9 items (EIP-155), or type byte and RLP (EIP-2718). See ``sign``."""
        return await self._sign_as(SignedTransaction, key, lambda: payloads.evm_transaction(unsigned), request_id)

    async def sign_authorization(self, key: str, unsigned: bytes, *, request_id: str | None = None) -> SignedBytes:
        """Sign an EIP-7702 authorization: 0x05 and RLP of chain id, address and nonce. See ``sign``."""
        return await self._sign_as(SignedBytes, key, lambda: payloads.evm_authorization(unsigned), request_id)

    async def sign_message(self, key: str, message: bytes | str, *, request_id: str | None = None) -> SignedBytes:
        """Sign a personal message (EIP-191), given without the prefix. See ``sign``."""
        return await self._sign_as(SignedBytes, key, lambda: payloads.evm_message(message), request_id)

    async def sign_typed_data(
        self, key: str, document: Mapping[str, object] | str | bytes, *, request_id: str | None = None
    ) -> SignedTypedData:
        """Sign EIP-712 typed data {types, primaryType, domain, message}, as object or JSON text. See ``sign``."""
        return await self._sign_as(SignedTypedData, key, lambda: payloads.typed_data(document), request_id)

    async def sign_hyperliquid(
        self,
        key: str,
        action: Mapping[str, object] | str | bytes,
        *,
        vault_address: str = "",
        expires_after_ms: int = 0,
        testnet: bool = False,
        request_id: str | None = None,
    ) -> SignedExchangeRequest:
        """Sign an action of Hyperliquid's exchange endpoint; ``body`` is to be posted there. See ``sign``.

        The order of the action's members is part of what is signed. The nonce is the service's.
        """

        def made() -> Payload:
            return payloads.hyperliquid(
                action, vault_address=vault_address, expires_after_ms=expires_after_ms, testnet=testnet
            )

        return await self._sign_as(SignedExchangeRequest, key, made, request_id)

    async def sign_solana(self, key: str, message: bytes, *, request_id: str | None = None) -> SignedBytes:
        """Sign a serialised Solana message, legacy or version 0; ``raw`` is the transaction. See ``sign``.

        Where others must sign as well, their places in ``raw`` are zero.
        """
        return await self._sign_as(SignedBytes, key, lambda: payloads.solana(message), request_id)

    async def sign_cosmos(self, key: str, sign_doc: bytes, *, request_id: str | None = None) -> SignedBytes:
        """Sign a serialised SignDoc (SIGN_MODE_DIRECT); ``raw`` is the TxRaw to broadcast. See ``sign``."""
        return await self._sign_as(SignedBytes, key, lambda: payloads.cosmos(sign_doc), request_id)

    async def sign_exchange(  # noqa: PLR0913 (the fields of ExchangeRequest, each named)
        self,
        key: str,
        *,
        venue: str,
        method: str = "",
        path: str = "",
        query: str = "",
        body: str = "",
        account: str = "",
        address: str = "",
        request_id: str | None = None,
    ) -> SignedExchangeRequest:
        """Sign a request to binance, bybit, okx, coinbase, kraken, deribit or polymarket, as it will be sent.

        Send it with the path, query, headers and body of the result. What the venue's scheme does not take must be
        empty. ``account`` is the id of the API key, ``address`` Polymarket's. Time and nonce are the service's. Of a
        signature by an HMAC key only the form can be checked here; what it was put on is exactly what was sent.
        See ``sign``.
        """

        def made() -> Payload:
            return payloads.exchange(
                venue, method=method, path=path, query=query, body=body, account=account, address=address
            )

        return await self._sign_as(SignedExchangeRequest, key, made, request_id)

    async def sign_exchange_message(
        self,
        key: str,
        *,
        venue: str = "binance",
        method: str,
        parameters: Mapping[str, object] | str | bytes = "{}",
        account: str,
        request_id: str | None = None,
    ) -> SignedExchangeRequest:
        """Sign one message of Binance's WebSocket API; ``message`` is to be sent there. See ``sign_exchange``."""

        def made() -> Payload:
            return payloads.exchange_message(venue, method=method, parameters=parameters, account=account)

        return await self._sign_as(SignedExchangeRequest, key, made, request_id)

    async def log_on(  # noqa: PLR0913 (the fields of ExchangeLogon, each named)
        self,
        key: str,
        *,
        venue: str,
        protocol: str,
        account: str,
        sender_comp_id: str = "",
        target_comp_id: str = "",
        sequence_number: int = 0,
        data: str = "",
        request_id: str | None = None,
    ) -> SignedExchangeRequest:
        """Sign what opens a session; whoever has it acts without asking again. See ``sign_exchange``.

        Venue and protocol: binance websocket, binance fix, okx websocket, kraken fix, deribit oauth. ``message`` is to
        be sent. OKX's lacks the passphrase, which is the caller's.
        """

        def made() -> Payload:
            return payloads.logon(
                venue,
                protocol=protocol,
                account=account,
                sender_comp_id=sender_comp_id,
                target_comp_id=target_comp_id,
                sequence_number=sequence_number,
                data=data,
            )

        return await self._sign_as(SignedExchangeRequest, key, made, request_id)

    async def sign_binance(
        self, key: str, *, query: str = "", body: str = "", request_id: str | None = None
    ) -> SignedExchangeRequest:
        """Sign a Binance REST request, whose parameters stand in ``query`` or in ``body``. See ``sign_exchange``."""
        return await self.sign_exchange(key, venue="binance", query=query, body=body, request_id=request_id)

    async def sign_digest(self, key: str, digest: bytes, *, request_id: str | None = None) -> SignedDigest:
        """Sign 32 bytes that nobody can look into; the policy must name the key for it. See ``sign``."""
        return await self._sign_as(SignedDigest, key, lambda: payloads.raw_digest(digest), request_id)

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
        signed = verified(asked, response, expected)
        self.transport.saw(signed.ledger_index + 1)
        return signed

    async def _sign_as(self, kind: type[S], key: str, made: Callable[[], Payload], request_id: str | None) -> S:
        """Sign what ``made`` puts together; what it cannot is InvalidRequest."""
        try:
            payload = made()
        except Malformed as error:
            raise invalid(error, request_id=request_id or "") from None
        return narrowed(kind, await self.sign(key, payload, request_id=request_id))

    async def _fetch(self, name: KeyName) -> types_pb2.Key:
        request = signing_pb2.GetPublicKeyRequest(name=name.resource)
        return await self.transport.call(lambda at: at.signing.GetPublicKey, request)
