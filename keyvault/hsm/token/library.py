"""The module, the token in it, the login, and the lock around making objects."""

import fcntl
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pkcs11
from pkcs11 import TokenFlag, _pkcs11
from pkcs11.exceptions import PKCS11Error

from keyvault.core.keys import KeyAlgorithm, KeyTransport
from keyvault.hsm.cryptoki import Cryptoki, CryptokiError
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.locked import Buffer
from keyvault.hsm.token.keys import translate


class _LockingLibrary(_pkcs11.lib):
    """python-pkcs11's library object, initialised with CKF_OS_LOCKING_OK instead of NULL."""

    cryptoki: Cryptoki

    def initialize(self) -> None:
        self.cryptoki = Cryptoki(Path(self.so))
        self.cryptoki.initialize()


class Token:
    """The module, loaded and initialised once per process, one token of it, and the login."""

    def __init__(
        self, *, module: Path, label: str, lock_file: Path, key_transport: KeyTransport = KeyTransport.NONE
    ) -> None:
        """Load the module and find exactly one token with this label. Raises TokenError; does not log in."""
        self.key_transport = key_transport
        self._library = load_library(module)
        self._token = _find_token(self._library, label)
        self._lock_file = lock_file
        self._anchor: pkcs11.Session | None = None
        self._making = threading.Lock()
        self._users = threading.Condition(threading.Lock())
        self._using = 0
        """Lanes that sign right now."""
        self._destroying = False
        """Whether one waits to destroy an object, or does: no lane begins to sign."""
        self.kwp_mechanism: pkcs11.Mechanism | None = None
        """By which mechanism this token opens AES-KWP; None until a trial import has found one."""
        self.wraps: frozenset[KeyAlgorithm] = frozenset()
        """Whose keys this token can wrap and unwrap; empty until trials have shown it."""

    @property
    def label(self) -> str:
        """The token's label."""
        return self._token.label

    @property
    def serial(self) -> str:
        """The token's serial number."""
        return self._token.serial.decode("ascii", "replace").strip()

    @property
    def library(self) -> str:
        """The module's own name and version."""
        major, minor = self._library.library_version
        return f"{self._library.manufacturer_id} {self._library.library_description} {major}.{minor}"

    def log_in(self, pin: str) -> None:
        """Open the anchor session. One attempt; raises TokenError, with LATCH if the PIN was refused."""
        try:
            self._anchor = self._token.open(rw=True, user_pin=pin)
        except PKCS11Error as error:
            raise translate(error) from None  # the cause's frames hold the PIN

    def open_session(self) -> pkcs11.Session:
        """Return a new session that inherits the login. Raises TokenError."""
        try:
            return self._token.open(rw=True)
        except PKCS11Error as error:
            raise translate(error) from error

    def logged_in(self, session: pkcs11.Session) -> bool:
        """Return whether the login still holds. Raises TokenError."""
        try:
            return self._library.cryptoki.logged_in(session.handle)  # type: ignore[attr-defined]  # a Cython field
        except CryptokiError as error:
            raise TokenError("SESSION_INFO_FAILED", str(error), Remedy.REOPEN) from error

    def read_seed(self, session: pkcs11.Session, readable: pkcs11.Object, into: Buffer) -> None:
        """Fill the buffer with a secret of the session. Raises TokenError."""
        try:
            self._library.cryptoki.read_value(session.handle, readable.handle, into)  # type: ignore[attr-defined,arg-type]  # Cython
        except (CryptokiError, ValueError) as error:
            raise TokenError("SEED_NOT_READ", f"the token gives no seed: {error}", Remedy.REOPEN) from error

    def create_from_seed(self, session: pkcs11.Session, attributes: Mapping[int, bytes], seed: Buffer) -> None:
        """Make an object whose value is the seed. Raises TokenError."""
        try:
            self._library.cryptoki.create_object(session.handle, attributes, seed)  # type: ignore[attr-defined]  # Cython
        except CryptokiError as error:
            raise TokenError("SEED_NOT_TAKEN", f"the token takes no seed: {error}", Remedy.REOPEN) from error

    def close_session(self, session: pkcs11.Session) -> None:
        """Close a lane's session; one that the token does not know any more is closed already."""
        try:
            session.close()
        except PKCS11Error:
            return

    @contextmanager
    def making(self) -> Iterator[None]:
        """Hold the right to make and destroy objects: nobody else makes, destroys or searches meanwhile."""
        with self._making, self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def finding(self) -> Iterator[None]:
        """Hold the right to search: nobody makes or destroys meanwhile."""
        with self._locked(fcntl.LOCK_SH):
            yield

    def begin_using(self) -> None:
        """Take the right to sign: until ``end_using`` no object is destroyed in this process.

        SoftHSM frees an object under the hands of another session that signs with it, and the process dies.
        """
        with self._users:
            while self._destroying:
                self._users.wait()
            self._using += 1

    def end_using(self) -> None:
        """Give the right to sign back."""
        with self._users:
            self._using -= 1
            if self._destroying:
                self._users.notify_all()

    @contextmanager
    def destroying(self) -> Iterator[None]:
        """Hold the right to destroy an object: nobody in this process signs meanwhile. Inside ``making``."""
        with self._users:
            self._destroying = True
            self._users.wait_for(lambda: self._using == 0)
        try:
            yield
        finally:
            with self._users:
                self._destroying = False
                self._users.notify_all()

    def wait_until_made(self) -> None:
        """Return when this process is not in the middle of making an object, and never let it start again."""
        self._making.acquire()

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        # A new descriptor each time: flock belongs to the open file, so threads exclude one another as well.
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def new_token(*, module: Path, label: str, so_pin: str, pin: str) -> None:
    """Initialise a token in the module's free slot, and its user PIN. Finalises the module. Raises TokenError."""
    library = load_library(module)
    try:
        free = [slot for slot in library.get_slots() if not slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED]
        if not free:
            raise TokenError("NO_FREE_SLOT", "the module has no slot for a new token", Remedy.KEEP)
        library.cryptoki.init_token(free[0].slot_id, so_pin.encode(), label)
        # SoftHSM gives the new token another slot; it is found again by its label.
        with _find_token(library, label).open(rw=True, so_pin=so_pin) as session:
            session.init_pin(pin)
    except (PKCS11Error, CryptokiError) as error:
        problem = translate(error).code if isinstance(error, PKCS11Error) else str(error)
        # Without its cause, whose frames hold the PINs.
        raise TokenError("TOKEN_NOT_CREATED", f"cannot initialise the token: {problem}", Remedy.RETIRE) from None
    library.cryptoki.finalize()


def load_library(module: Path) -> _LockingLibrary:
    """Load and initialise a PKCS#11 module for use by threads; once per process. Raises TokenError."""
    try:
        return _LockingLibrary(str(module))
    except (OSError, AttributeError, CryptokiError, PKCS11Error) as error:
        raise TokenError("MODULE_UNUSABLE", f"PKCS#11 module {module}: {error}", Remedy.RETIRE) from error


def _find_token(library: _LockingLibrary, label: str) -> pkcs11.Token:
    try:
        tokens = [token for token in library.get_tokens() if token.label == label]
    except PKCS11Error as error:
        raise translate(error) from error
    if len(tokens) == 1:
        return tokens[0]
    raise TokenError("TOKEN_NOT_FOUND", f"{len(tokens)} tokens have the label {label!r}, not one", Remedy.RETIRE)
