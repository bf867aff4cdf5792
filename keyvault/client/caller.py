"""What every part of the SDK needs: the channels, the enclave, and what its owner expects to find there."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from keyvault.client.addresses import parse_addresses
from keyvault.client.credentials import Credentials
from keyvault.client.errors import invalid
from keyvault.client.keybook import KeyBook
from keyvault.client.names import KeyName
from keyvault.client.retry import Timing
from keyvault.client.transport import Transport
from keyvault.core import limits
from keyvault.core.charter import Duty
from keyvault.core.errors import Malformed
from keyvault.core.events import Genesis
from keyvault.core.ids import parse_enclave_name


class Caller:
    """One client of one enclave. Use it inside ``async with``.

    Args:
        target: ``host:port`` of the server. Of several that stand for one another, all: ``"a:7443,b:7443,c:7443"``, or
            a sequence. Whichever leads is found, and found again when another one takes over (``route``).
        credentials: our certificate and the authority of the server's; there is no way to do without.
        enclave: the enclave's name.
        deadline_s: for a whole call, retries included; seconds.
        attempt_deadline_s: for one attempt; seconds. 3 if there is one address, 1 if there are several: a host that
            vanished without a word is found out by nothing else so soon (keepalive needs 10 s and more, because servers
            allow no more pings). A slow leader loses nothing by it: it is asked again, and answers the same.
        expected_keys: public keys by ``{key}`` or ``{key}/versions/{version}``: 32 bytes Ed25519, or an uncompressed
            point of 65 bytes. Other keys are learned from the server when they are first met.
        expected_log_vkey: the C2SP verification key of checkpoints; otherwise learned in the same way.
        expected_enclave_id: 32 bytes; statements are made for no other enclave. Otherwise learned in the same way.
        server_name: the name that the server's certificate must have, if it is not the host of ``target``.
        timing: clocks, sleep and chance.

    Raises InvalidRequest for a bad address, name or key.
    """

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
        try:
            self.enclave = parse_enclave_name(enclave)
            self._keybook = KeyBook(self.enclave, expected_keys or {})
            addresses = parse_addresses(target)
        except Malformed as error:
            raise invalid(error) from None
        self._log_vkey = expected_log_vkey
        self._enclave_id = expected_enclave_id
        self._genesis: Genesis | None = None
        self._charter_version = 0
        self._delays: Mapping[Duty, int] = {}
        attempt_ms = limits.CLIENT_ATTEMPT_MS if len(addresses) == 1 else limits.CLIENT_FAILOVER_ATTEMPT_MS
        attempt_s = attempt_ms / 1000 if attempt_deadline_s is None else attempt_deadline_s
        self.transport = Transport(
            addresses,
            credentials,
            deadline_s=deadline_s,
            attempt_deadline_s=min(attempt_s, deadline_s),
            server_name=server_name,
            timing=timing or Timing(),
        )

    async def __aenter__(self) -> Self:
        """Open the channels; each connects with its first call."""
        await self.transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channels; calls in flight are cancelled."""
        await self.transport.__aexit__(kind, error, trace)

    @property
    def _parent(self) -> str:
        return f"enclaves/{self.enclave}"

    def _key_name(self, key: str) -> KeyName:
        try:
            return KeyName.parse(self.enclave, key)
        except Malformed as error:
            raise invalid(error) from None
