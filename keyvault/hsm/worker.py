"""The process that alone holds the PIN and the PKCS#11 sessions of one token.

Started by the supervisor with exec, never by fork of the server. It inherits one socket per lane, gets no secret by
argument or environment, reads the PIN from its file itself, and does one request at a time per lane, each lane in a
thread and session of its own. It says ``Capabilities`` or ``WorkerError`` on every lane, then only answers.

It ends by ``os._exit``: when a lane's socket ends (the server closed it or died), when the token is in doubt, when
the PIN was refused. C_Finalize is left out on purpose: other lanes may be inside the module, and the end of a
process closes its sessions as well.

It refuses to: write logs, keep a PIN after the login, retry a login, answer with anything but the named errors.
"""

import argparse
import hmac
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from google.protobuf.message import DecodeError

from keyvault.core.errors import Malformed
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyTransport
from keyvault.core.marks import Mark
from keyvault.core.wrap import HASHES
from keyvault.hsm import frames, proofs, wire
from keyvault.hsm.anchor import decode_anchor, encode_anchor
from keyvault.hsm.base import IMPORT_KEY_OBJECT_ID
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.harden import harden
from keyvault.hsm.pin import read_pin
from keyvault.hsm.token import Session, Token, Transport, Trials
from keyvault.v1 import worker_pb2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve the lanes until they end. Does not return."""
    options = _parser().parse_args(arguments)
    harden()
    lanes = [socket.socket(fileno=descriptor) for descriptor in options.lane]
    try:
        token = Token(
            module=options.module,
            label=options.label,
            lock_file=options.lock_file,
            key_transport=options.key_transport,
        )
        token.log_in(read_pin(options.pin_file))
        sessions = [Session(token) for _ in lanes]
        hello = worker_pb2.WorkerResponse(capabilities=self_test(token, sessions[0]))
    except TokenError as error:
        _say(lanes, worker_pb2.WorkerResponse(error=_error(error)))
        os._exit(wire.ExitCode.PIN_REFUSED if error.remedy is Remedy.LATCH else wire.ExitCode.NOT_STARTED)
    _say(lanes, hello)
    for lane, session in zip(lanes[1:], sessions[1:], strict=True):
        threading.Thread(target=_serve, args=(token, session, lane), daemon=True).start()
    _serve(token, sessions[0], lanes[0])


def self_test(token: Token, session: Session) -> worker_pb2.Capabilities:
    """Return what the token can do, shown by doing it with keys that live for one signature.

    The server verifies the signatures. An algorithm that the token refuses is left out; a trial import says whether
    secrets can be imported.
    Raises TokenError when the token itself is in doubt.
    """
    found = worker_pb2.Capabilities(token_label=token.label, token_serial=token.serial, library=token.library)
    for algorithm in KeyAlgorithm:
        try:
            public_key, signature = _trial(session, algorithm)
        except TokenError as error:
            if error.remedy in {Remedy.LATCH, Remedy.RETIRE}:
                raise
            continue
        found.trials.add(
            algorithm=wire.algorithm_to_wire(algorithm),
            public_key=public_key,
            input=wire.TRIAL_DIGEST,
            signature=signature,
        )
    found.keeps_anchor = _keeps_anchor(session)
    able = [wire.algorithm_from_wire(trial.algorithm) for trial in found.trials]
    found.imports_secrets = _imports(session, able)
    token.wraps = _wraps(token, session, able)
    found.transports.extend(wire.algorithm_to_wire(algorithm) for algorithm in sorted(token.wraps))
    return found


def _wraps(token: Token, session: Session, able: Sequence[KeyAlgorithm]) -> frozenset[KeyAlgorithm]:
    """Return whose keys were wrapped, unwrapped, and proved to be the same; none where no key may leave."""
    if token.key_transport is not KeyTransport.KWP:
        return frozenset()
    return Trials(session, wire.TRIAL_COPY_OBJECT_ID, wire.TRIAL_HMAC_SECRET, _known_check).movable(able)


def _known_check(algorithm: KeyAlgorithm) -> bytes:
    """Return the key check of the secret that everybody knows."""
    told = proofs.key_check(wire.TRIAL_COPY_OBJECT_ID, algorithm).input
    return proofs.cut(hmac.digest(wire.TRIAL_HMAC_SECRET, told, HASHES[algorithm]))


def _keeps_anchor(session: Session) -> bool:
    try:
        return session.trial_anchor()
    except TokenError as error:
        if error.remedy in {Remedy.LATCH, Remedy.RETIRE}:
            raise
        return False


def _imports(session: Session, able: Sequence[KeyAlgorithm]) -> bool:
    """Return whether a trial import gave the HMAC that it must give; one HMAC that the token has is enough."""
    secret, message = wire.TRIAL_HMAC_SECRET, wire.TRIAL_DIGEST
    return any(
        session.trial_import(wire.TRIAL_OBJECT_ID, IMPORT_KEY_OBJECT_ID, algorithm, secret, message)
        for algorithm in able
        if algorithm in HMAC_ALGORITHMS
    )


def _trial(session: Session, algorithm: KeyAlgorithm) -> tuple[bytes, bytes]:
    if algorithm not in HMAC_ALGORITHMS:
        return session.trial_pair(wire.TRIAL_OBJECT_ID, algorithm, wire.TRIAL_DIGEST)
    answer = session.trial_hmac(wire.TRIAL_OBJECT_ID, algorithm, wire.TRIAL_HMAC_SECRET, wire.TRIAL_DIGEST)
    if answer != hmac.digest(wire.TRIAL_HMAC_SECRET, wire.TRIAL_DIGEST, HASHES[algorithm]):
        raise TokenError("WRONG_SIGNATURE", f"the token's HMAC is not {algorithm}", Remedy.KEEP)
    return b"", answer


def _serve(token: Token, session: Session, lane: socket.socket) -> NoReturn:
    try:
        while True:
            _answer(token, session, lane)
    except (OSError, DecodeError):
        # The server is gone or talks nonsense. Let another lane finish an object that it is writing.
        token.wait_until_made()
        os._exit(wire.ExitCode.CLOSED)
    except BaseException:  # noqa: BLE001 - whatever it is: a lane that died must not look alive
        sys.excepthook(*sys.exc_info())
        os._exit(wire.ExitCode.RETIRED)


def _answer(token: Token, session: Session, lane: socket.socket) -> None:
    request = worker_pb2.WorkerRequest.FromString(frames.receive(lane))
    response, remedy = _do(session, request)
    response.retiring = remedy in {Remedy.LATCH, Remedy.RETIRE}
    frames.send(lane, response.SerializeToString())
    if response.retiring:
        token.wait_until_made()
        os._exit(wire.ExitCode.PIN_REFUSED if remedy is Remedy.LATCH else wire.ExitCode.RETIRED)


def _do(session: Session, request: worker_pb2.WorkerRequest) -> tuple[worker_pb2.WorkerResponse, Remedy]:
    kind = request.WhichOneof("request")
    if kind == "sign":
        return _sign(session, request.sign)
    try:
        return _change(session, request), Remedy.KEEP
    except TokenError as error:
        return worker_pb2.WorkerResponse(error=_error(error)), error.remedy


def _change(session: Session, request: worker_pb2.WorkerRequest) -> worker_pb2.WorkerResponse:
    """Make, destroy or move an object, or look at the anchor."""
    kind = request.WhichOneof("request")
    if kind == "read_anchor":
        found = session.read_anchor()
        value = b"" if found is None else encode_anchor(found)
        return worker_pb2.WorkerResponse(anchor_read=worker_pb2.AnchorRead(value=value))
    if kind == "write_anchor":
        session.write_anchor(_mark(request.write_anchor.value))
        return worker_pb2.WorkerResponse(anchor_written=worker_pb2.AnchorWritten())
    if kind in _MOVES:
        moved = worker_pb2.Transported(value=_move(Transport(session), request))
        return worker_pb2.WorkerResponse(transported=moved)
    if kind == "destroy":
        session.destroy(request.destroy.object_id, wire.algorithm_from_wire(request.destroy.algorithm))
        return worker_pb2.WorkerResponse(destroyed=worker_pb2.ObjectDestroyed())
    public_key = b""
    if kind == "generate":
        wanted = request.generate
        algorithm = wire.algorithm_from_wire(wanted.algorithm)
        public_key = session.generate(wanted.object_id, algorithm, plaintext_transport=wanted.plaintext_transport)
    else:
        blob = request.unwrap
        algorithm = wire.algorithm_from_wire(blob.algorithm)
        session.unwrap(blob.object_id, blob.import_object_id, algorithm, blob.wrapped)
    return worker_pb2.WorkerResponse(made=worker_pb2.ObjectMade(public_key=public_key))


def _mark(value: bytes) -> Mark:
    try:
        return decode_anchor(value)
    except Malformed as error:
        raise TokenError("ANCHOR_MALFORMED", error.problem, Remedy.KEEP) from error


_MOVES = frozenset(
    {
        *("transport_key", "create_wrapping_key", "check_wrapping_key", "export_wrapping_key", "import_wrapping_key"),
        *("wrap", "unwrap_copy", "wrap_import_key", "unwrap_import_copy"),
    }
)


def _move(transport: Transport, request: worker_pb2.WorkerRequest) -> bytes:
    """Do what moves keys between tokens; return what was asked for."""
    match request.WhichOneof("request"):
        case "transport_key":
            return transport.transport_key()
        case "create_wrapping_key":
            transport.create_wrapping_key()
        case "check_wrapping_key":
            return transport.check()
        case "export_wrapping_key":
            return transport.export_wrapping_key(request.export_wrapping_key.to)
        case "import_wrapping_key":
            transport.import_wrapping_key(request.import_wrapping_key.wrapped, request.import_wrapping_key.check)
        case "wrap_import_key":
            return transport.wrap_import_key()
        case "unwrap_import_copy":
            told = request.unwrap_import_copy
            transport.unwrap_import_copy(told.wrapped, told.public_key)
        case "wrap":
            return transport.wrap(request.wrap.object_id, wire.algorithm_from_wire(request.wrap.algorithm))
        case _:
            copy = request.unwrap_copy
            transport.unwrap_copy(
                copy.object_id,
                wire.algorithm_from_wire(copy.algorithm),
                copy.wrapped,
                copy.identity,
                plaintext_transport=copy.plaintext_transport,
            )
    return b""


def _sign(session: Session, batch: worker_pb2.SignBatch) -> tuple[worker_pb2.WorkerResponse, Remedy]:
    """Sign all items; after an error that ends this process, the items that follow get the same error."""
    signed = worker_pb2.SignedBatch()
    fatal: TokenError | None = None
    for item in batch.items:
        try:
            if fatal is not None:
                raise fatal
            signature = session.sign(item.object_id, wire.algorithm_from_wire(item.algorithm), item.input)
            signed.results.add(signature=signature)
        except TokenError as error:
            fatal = error if error.remedy in {Remedy.LATCH, Remedy.RETIRE} else None
            signed.results.add(error=_error(error))
    return worker_pb2.WorkerResponse(signed=signed), fatal.remedy if fatal else Remedy.KEEP


def _error(error: TokenError) -> worker_pb2.WorkerError:
    return worker_pb2.WorkerError(code=error.code, explanation=error.explanation, latched=error.remedy is Remedy.LATCH)


def _say(lanes: Sequence[socket.socket], message: worker_pb2.WorkerResponse) -> None:
    for lane in lanes:
        frames.send(lane, message.SerializeToString())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keyvault.hsm.worker", description="Started by the keyvault server.")
    parser.add_argument("--module", type=Path, required=True, help="PKCS#11 module")
    parser.add_argument("--label", required=True, help="label of the token")
    parser.add_argument("--pin-file", type=Path, required=True, help="file with the user PIN, mode 0600")
    parser.add_argument("--lock-file", type=Path, required=True, help="file to lock while objects are made")
    parser.add_argument(
        "--key-transport", type=KeyTransport, default=KeyTransport.NONE, help="by what keys come into other tokens"
    )
    parser.add_argument("--lane", type=int, action="append", required=True, help="inherited socket of a lane")
    return parser


if __name__ == "__main__":
    main()
