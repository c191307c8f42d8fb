"""The local socket of a node that stays: how other commands of the same user reach it.

A request is a JSON line `{verb, arguments, content, paced}`; with `content`, lines `{base64}` up to `{end}` follow. It is
answered by lines `{item}`, and `{end}` or `{failure}`. On a paced request the caller sends `{next}` for each item it has
taken. Invariants: the socket has mode 0600 in a folder of mode 0700, and each caller's user is asked of the kernel where
it says so; lines, callers and content in memory are bounded; nothing outlives `close`. Knows no verbs.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from io import BufferedRWPair
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from frontends.calls import Call
from frontends.directory import private_folder
from frontends.failures import FailedError
from frontends.forms import Form
from frontends.lines import CHUNK_BYTES, MAX_ANSWER_BYTES, Message, read_line, write_line

MAX_CALLERS: Final = 32
REQUEST_TIMEOUT_S: Final = 30.0  # for a caller that connects and says nothing
CLOSE_TIMEOUT_S: Final = 5.0
SPOOL_BYTES: Final = 1 << 20  # of content in memory; the rest goes to a temporary file

Answer = Callable[[str, Call, dict[str, Any]], Generator[Form, None, None]]
MakeCall = Callable[[BinaryIO], Call]


class LocalServer:
    """Answers callers on a socket, each in a thread of its own.

    Args:
        path: Where; a stale socket there is replaced, since the directory's lock shows that its owner is dead.
        make_call: Gives a call for the content that came with it.
        answer: Performs a verb for a call.

    Raises:
        FailedError: The folder is not ours alone, or the socket cannot be made.
    """

    def __init__(self, path: Path, make_call: MakeCall, answer: Answer) -> None:
        self._path = path
        self._make_call = make_call
        self._answer = answer
        self._slots = threading.Semaphore(MAX_CALLERS)
        self._lock = threading.Lock()
        self._callers: dict[socket.socket, threading.Thread] = {}
        private_folder(path.parent)
        self.listener = _bind(path)

    def accept(self) -> None:
        """Takes one caller that waits on `listener`."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return  # it went away before it was taken
        if not _is_own_user(connection) or not self._slots.acquire(blocking=False):
            connection.close()
            return
        thread = threading.Thread(target=self._serve, args=(connection,), name="walytis-caller", daemon=True)
        with self._lock:
            self._callers[connection] = thread
        thread.start()

    def close(self) -> None:
        """Sends all callers away and removes the socket; closing twice is fine."""
        self.listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with self._lock:
            callers = dict(self._callers)
        for connection in callers:
            _hang_up(connection)
        for thread in callers.values():
            thread.join(CLOSE_TIMEOUT_S)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rwb") as stream:
                self._answer_one(connection, stream)
        except (OSError, ValueError):
            pass  # the caller is gone, or the server closed
        finally:
            _hang_up(connection)
            self._slots.release()
            with self._lock:  # last: `close` waits for the threads that it finds here
                self._callers.pop(connection, None)
            connection.close()

    def _answer_one(self, connection: socket.socket, stream: BufferedRWPair) -> None:
        connection.settimeout(REQUEST_TIMEOUT_S)
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as content:
            try:
                request = read_line(stream)
                if request is None:
                    return
                connection.settimeout(None)  # content may come from a keyboard
                if request.get("content"):
                    _receive_content(stream, content)
                self._perform(connection, stream, request, self._make_call(cast(BinaryIO, content)))
            except FailedError as failure:
                write_line(stream, {"failure": failure.to_json()})

    def _perform(self, connection: socket.socket, stream: BufferedRWPair, request: Message, call: Call) -> None:
        taken = threading.Semaphore(0)
        watcher = threading.Thread(target=_watch, args=(stream, call, taken), name="walytis-watcher", daemon=True)
        watcher.start()
        arguments = dict(request.get("arguments") or {})
        try:
            with contextlib.closing(self._answer(str(request.get("verb")), call, arguments)) as answers:
                for item in answers:
                    write_line(stream, {"item": item})
                    if request.get("paced"):
                        taken.acquire()
                    if call.is_gone:
                        return
            write_line(stream, {"end": True})
        except FailedError as failure:
            write_line(stream, {"failure": failure.to_json()})
        except OSError:
            return  # the caller is gone
        except Exception as error:  # noqa: BLE001 - a caller's boundary: it is told, the node goes on
            write_line(stream, {"failure": FailedError.of(error).to_json()})
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # the watcher reads the same stream: it must end first
            watcher.join()


def _watch(stream: BufferedRWPair, call: Call, taken: threading.Semaphore) -> None:
    """Hears what the caller says while it is answered, and notices that it is gone."""
    with contextlib.suppress(OSError, ValueError, FailedError):
        while read_line(stream) is not None:
            taken.release()
    call.leave()
    taken.release()


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(MAX_CALLERS)
        listener.setblocking(False)  # a caller may go between being announced and being taken
    except OSError as error:
        listener.close()
        raise FailedError(
            "StorageError", f"the local socket {path} cannot be made: {error.strerror}", "Name another --data-dir.", 6
        ) from error
    return listener


def _is_own_user(connection: socket.socket) -> bool:
    """Whether the caller is our user, where the kernel says who it is; elsewhere the modes must do."""
    connection.setblocking(True)
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(user == os.getuid())


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _receive_content(stream: BufferedRWPair, content: Any) -> None:
    while (message := read_line(stream)) is not None and "end" not in message:
        content.write(base64.b64decode(str(message.get("base64", ""))))
    content.seek(0)
    if message is None:
        raise FailedError.usage("the content was cut short")


# --- the caller's side -------------------------------------------------------------------------------------------


def dial(path: Path) -> socket.socket | None:
    """A connection to the node that listens there; None when nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(os.fspath(path))
    except OSError:
        connection.close()
        return None
    return connection


def ask(
    connection: socket.socket, verb: str, arguments: Form, *, content: BinaryIO | None = None, paced: bool = False
) -> Iterator[Form]:
    """Has a verb performed by the node at the other end, and closes the connection.

    Raises:
        FailedError: What the verb failed with, or that the node went away.
    """
    try:
        with connection, connection.makefile("rwb") as stream:
            write_line(stream, {"verb": verb, "arguments": arguments, "content": content is not None, "paced": paced})
            if content is not None:
                _send_content(stream, content)
            yield from _answers(stream, paced=paced)
    except OSError as error:  # also when the stream is closed and cannot send what is left
        raise _went_away() from error


def _answers(stream: BufferedRWPair, *, paced: bool) -> Iterator[Form]:
    while (message := read_line(stream, max_bytes=MAX_ANSWER_BYTES)) is not None:
        if "failure" in message:
            raise FailedError.from_json(message["failure"])
        if "end" in message:
            return
        yield dict(message["item"])
        if paced:
            write_line(stream, {"next": True})
    raise _went_away()


def _send_content(stream: BufferedRWPair, content: BinaryIO) -> None:
    while chunk := content.read(CHUNK_BYTES):
        write_line(stream, {"base64": base64.b64encode(chunk).decode("ascii")})
    write_line(stream, {"end": True})


def _went_away() -> FailedError:
    return FailedError("UnavailableError", "the running node went away", "Start it again with `walytis run`.", 4)
