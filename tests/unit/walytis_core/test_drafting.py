from __future__ import annotations

import io
import os
import threading
from contextlib import closing

import pytest

from walytis_core import InvalidInputError, Limits, Node


class Short(io.RawIOBase):
    """A stream of which each read gives a little, and which must not be read after its end."""

    def __init__(self, data: bytes, at_once: int) -> None:
        self._left, self._at_once, self._has_ended = data, at_once, False

    def read(self, size: int = -1) -> bytes:
        assert not self._has_ended
        part = self._left[: min(size, self._at_once)]
        self._left = self._left[len(part) :]
        self._has_ended = not part
        return part


@pytest.fixture
def chain():
    with Node.in_memory() as node:
        yield node.create_chain("notes")


@pytest.mark.parametrize("size", [0, 1, 5000, Limits.max_payload_bytes, Limits.max_payload_bytes + 1, 60_000, 600_000])
@pytest.mark.parametrize("at_once", [999, 40_000])
def test_a_stream_of_short_reads_is_stored_whole(chain, size, at_once):
    """C05: whatever the pieces in which it comes; its end is asked for once."""
    data = os.urandom(size)
    block = chain.append(Short(data, at_once))
    assert block.payload == data
    assert (block.content is None) == (size <= Limits.max_payload_bytes)


def test_an_unbuffered_pipe_is_stored_whole(chain):
    """C05: each write is a read of its own."""
    ours, theirs = os.pipe()
    pieces = [b"piece %d;" % number * 500 for number in range(5)]
    taken = threading.Semaphore(0)

    def write() -> None:
        with closing(os.fdopen(theirs, "wb", buffering=0)) as pipe:
            for piece in pieces:
                pipe.write(piece)
                assert taken.acquire(timeout=30.0)

    class Pipe(io.FileIO):
        def read(self, size: int | None = -1) -> bytes | None:  # type: ignore[override]
            part = super().read(size)
            taken.release()
            return part

    writer = threading.Thread(target=write)
    writer.start()
    with Pipe(ours) as stream:
        assert chain.append(stream).payload == b"".join(pieces)
    writer.join(30.0)


@pytest.mark.parametrize("before", [b"", b"some", bytes(100_000)])
def test_a_stream_that_has_nothing_now_is_refused(chain, before):
    """C05: it has not ended, so that to store what came would be to cut it."""
    stream = Short(before, 50_000)
    stream.read = lambda size=-1: Short.read(stream, size) or None  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(InvalidInputError, match="non-blocking"):
        chain.append(stream)
    assert len(chain) == 0


@pytest.mark.parametrize("long", [False, True])
def test_a_stream_of_text_is_refused(chain, long):
    with pytest.raises(InvalidInputError, match="text"):
        chain.append(io.StringIO("x" * (100_000 if long else 1)))
    assert len(chain) == 0


def test_a_negative_limit_is_refused_at_once(chain):
    """C20: a count below none means nothing."""
    chain.append(b"x")
    with pytest.raises(InvalidInputError):
        chain.blocks(limit=-1)
    assert list(chain.blocks(limit=0)) == []
