"""What a daemon may answer, and how an answer goes wrong on its way.

An answer is an iterator of raw bytes, head included, so that anything can be put on the wire; a bend makes one answer of
another.
"""

from __future__ import annotations

import functools
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_CHUNK: Final = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `over` is set when who asked need not be answered any more."""

    path: str
    args: list[str]
    options: dict[str, str]
    head: bytes
    body: bytes
    over: threading.Event


Answer = Callable[[Request], Iterator[bytes]]
Bend = Callable[[Answer], Answer]


# --- answers -----------------------------------------------------------------------------------------------------


def head(status: str = "200 OK", *headers: str, kind: str = "application/json") -> bytes:
    """A head as Kubo writes it, without a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Server: kubo/0.43.0", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body; an empty one ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def raw(data: bytes) -> Answer:
    """These very bytes, then the end of the connection."""

    def answer(_: Request) -> Iterator[bytes]:
        yield data

    return answer


def text(body: bytes | str, status: str = "200 OK", *headers: str, kind: str = "text/html; charset=utf-8") -> Answer:
    """A page with a length."""
    data = body.encode() if isinstance(body, str) else body
    return raw(head(status, f"Content-Length: {len(data)}", *headers, kind=kind) + data)


def told(value: object, status: str = "200 OK") -> Answer:
    """JSON in chunks, as Kubo answers."""
    return raw(head(status, "Transfer-Encoding: chunked") + chunk(json.dumps(value).encode() + b"\n") + chunk(b""))


def refused(message: str) -> Answer:
    """What Kubo answers when it cannot do as asked."""
    return told({"Message": message, "Code": 0, "Type": "error"}, "500 Internal Server Error")


def block(data: bytes) -> Answer:
    """What `block/get` answers."""
    return raw(head("200 OK", "Transfer-Encoding: chunked", kind="text/plain") + chunk(data) + chunk(b""))


def endless(start: bytes = b"", more: bytes = b"x" * _CHUNK, *, chunked: bool = True) -> Answer:
    """A body that never ends."""

    def answer(request: Request) -> Iterator[bytes]:
        yield head("200 OK", "Transfer-Encoding: chunked") + chunk(start + more) if chunked else start
        while not request.over.is_set():
            yield chunk(more) if chunked else more

    return answer


def silent(request: Request) -> Iterator[bytes]:
    """Never says a word."""
    request.over.wait()
    yield from ()


@functools.cache
def _packed() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join([packer.compress(bytes(1 << 20)) for _ in range(64)]) + packer.flush()


def packed(_: Request) -> Iterator[bytes]:
    """64 megabytes, in 64 kilobytes."""
    yield head("200 OK", "Content-Encoding: gzip") + _packed()


DONE: Final = text("", kind="text/plain")
PUBSUB_OFF: Final = refused(
    "experimental pubsub feature not enabled, run daemon with --enable-pubsub-experiment to use"
)
MOUNTING_OFF: Final = refused("libp2p stream mounting not enabled")
PAGE_NOT_FOUND: Final = text("404 page not found\n", "404 Not Found", kind="text/plain; charset=utf-8")


# --- bends -------------------------------------------------------------------------------------------------------


def cut(at: int) -> Bend:
    """The answer ends after so many bytes; with a negative number, so many before its end."""

    def bend(answer: Answer) -> Answer:
        def bent(request: Request) -> Iterator[bytes]:
            if at < 0:
                yield b"".join(answer(request))[:at]
                return
            left = at
            for data in answer(request):
                yield data[:left]
                left -= len(data)
                if left <= 0:
                    return

        return bent

    return bend


def stalled(at: int) -> Bend:
    """The answer stops at such a place, and the connection stays."""

    def bend(answer: Answer) -> Answer:
        def bent(request: Request) -> Iterator[bytes]:
            yield from cut(at)(answer)(request)
            request.over.wait()

        return bent

    return bend


def dripping(every_s: float) -> Bend:
    """The answer comes byte by byte."""

    def bend(answer: Answer) -> Answer:
        def bent(request: Request) -> Iterator[bytes]:
            for data in answer(request):
                for byte in data:
                    yield bytes([byte])
                    if request.over.wait(every_s):
                        return

        return bent

    return bend
