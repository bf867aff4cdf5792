"""A firm's tokens, and what is moved between them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyTransport, Signature
from keyvault.core.wrap import wrap_secret
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.config import TokenConfig
from keyvault.hsm.supervisor import TokenSupervisor
from keyvault.hsm.verify import WrongSignature, verified
from tests.hsm.world import DIGEST, SECRET, World, running

MOVED = (KeyAlgorithm.SECP256K1, KeyAlgorithm.P256, KeyAlgorithm.ED25519, KeyAlgorithm.HMAC_SHA256)
"""One of each kind; HMAC-SHA512 differs in the length of its secrets only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A key on its way: an item to sign with it, what it must prove to be, and its blob."""

    item: SignItem
    identity: bytes
    blob: bytes

    async def into(self, token: TokenSupervisor) -> None:
        """Make the key in a token."""
        await token.unwrap_copy(
            self.item.object_id, self.item.algorithm, self.blob, self.identity, plaintext_transport=True
        )


def kwp(config: TokenConfig) -> TokenConfig:
    """Return the configuration for an enclave whose keys move by AES-KWP."""
    return replace(config, key_transport=KeyTransport.KWP)


@asynccontextmanager
async def all_running(*worlds: World) -> AsyncIterator[list[TokenSupervisor]]:
    """The workers of all these tokens run, and end with the block."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(kwp(world.config))) for world in worlds]


async def join(source: TokenSupervisor, target: TokenSupervisor) -> None:
    """Give the source's wrapping key to the target."""
    blob = await source.export_wrapping_key(await target.transport_public_key())
    await target.import_wrapping_key(blob, await source.wrapping_key_check())


async def moved(token: TokenSupervisor, world: World, algorithm: KeyAlgorithm, name: bytes = b"key") -> Moved:
    """Return a new key of a token, wrapped."""
    object_id = name + b"-" + algorithm.value.encode()
    public_key = b""
    if algorithm in HMAC_ALGORITHMS:
        secret = SECRET + name
        await token.unwrap(object_id, algorithm, wrap_secret(world.created.import_public_key, secret, algorithm))
        identity = await token.key_check(object_id, algorithm)
    else:
        identity = public_key = await token.generate(object_id, algorithm, plaintext_transport=True)
    item = SignItem(object_id=object_id, algorithm=algorithm, public_key=public_key, input=DIGEST)
    return Moved(item=item, identity=identity, blob=await token.wrap(object_id, algorithm))


async def signature(token: TokenSupervisor, item: SignItem) -> bytes:
    """Return a signature of the token's, verified here once more; an HMAC is compared by who asks."""
    await token.lanes[0].ready()
    (result,) = await token.lanes[0].sign([item])
    assert isinstance(result, Signature), result
    try:
        verified(item, result.value)
    except WrongSignature as error:  # pragma: no cover  the lane's checker would have to be broken
        pytest.fail(str(error))
    return result.value


async def refused(token: TokenSupervisor, key: Moved, **changes: object) -> str:
    """Return the code with which a token refuses a copy, with some of what is told about it changed."""
    told = {
        "object_id": key.item.object_id,
        "algorithm": key.item.algorithm,
        "blob": key.blob,
        "identity": key.identity,
        "plaintext_transport": True,
    }
    with pytest.raises(TokenFault) as fault:
        await token.unwrap_copy(**{**told, **changes})  # type: ignore[arg-type]  # of their types, by name
    return fault.value.code


def objects(world: World) -> set[str]:
    """Return the names of the token's object files."""
    return {path.name for path in (world.folder / "tokens").rglob("*.object")}


def flipped(blob: bytes, position: int) -> bytes:
    """Return the blob with one bit changed."""
    place = position % len(blob)
    return blob[:place] + bytes((blob[place] ^ 1,)) + blob[place + 1 :]
