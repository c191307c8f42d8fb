from __future__ import annotations

import io
import os
import threading
from contextlib import closing

import pytest

from walytis_core import Block, InvalidInputError, Limits, Node, NotAllowedError, content


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


LONG = bytes(600_000)


@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize("is_other_refused", [False, True])
def test_a_failed_append_takes_no_content_from_another(chain, monkeypatch, is_refused, is_other_refused):
    """C50: of two appends of the same bytes at once, what one needs stays, whichever is refused; what none needs goes."""
    append = chain.engine.append
    refusals = [is_other_refused, is_refused]  # the other comes while this one waits, and ends before it

    def other() -> None:
        if is_other_refused:
            with pytest.raises(NotAllowedError):
                chain.append(LONG)
        else:
            chain.append(LONG)

    def judged(*asked):
        if not begun:
            begun.append(True)
            other()
        if refusals.pop(0):
            raise NotAllowedError("no")
        return append(*asked)

    begun: list[bool] = []
    monkeypatch.setattr(chain.engine, "append", judged)
    if is_refused:
        with pytest.raises(NotAllowedError):
            chain.append(LONG)
    else:
        chain.append(LONG)
    blocks = list(chain.blocks())
    assert len(blocks) == 2 - is_refused - is_other_refused
    assert all(block.payload == LONG for block in blocks)
    assert bool(chain.tables.has_side([_link(LONG)])) == bool(blocks)


def test_one_that_found_the_content_there_fails_last(chain, monkeypatch):
    """C50: the first append is refused while the second, which met what the first had put, is still being drafted."""
    append = chain.engine.append

    def refusing(drafts, author, check=None):
        monkeypatch.setattr(chain.engine, "append", append)
        second.start()
        assert met.wait(30.0)
        raise NotAllowedError("no")

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            part = super().read(size)
            if not part:
                met.set()
                assert over.wait(30.0)
            return part

    met, over, made = threading.Event(), threading.Event(), list[Block]()
    second = threading.Thread(target=lambda: made.append(chain.append(Slow(LONG))))
    monkeypatch.setattr(chain.engine, "append", refusing)
    with pytest.raises(NotAllowedError):
        chain.append(LONG)
    over.set()
    second.join(30.0)
    assert made[0].payload == LONG
    assert chain.has_content(made[0])


def test_an_append_that_is_cut_off_keeps_its_content(chain, monkeypatch):
    """C50: its block may be written yet, by whoever appends for all who wait."""

    def cut_off(drafts, author, check=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(chain.engine, "append", cut_off)
    with pytest.raises(KeyboardInterrupt):
        chain.append(LONG)
    assert chain.tables.has_side([_link(LONG)])


def _link(data: bytes):
    return content.build(io.BytesIO(data), lambda _cid, _data: None).link


def test_parents_are_any_ids(chain):
    """C20: an iterator, too; what holds no ids is refused before anything is written."""
    first = chain.append(b"1")
    second = chain.append(b"2", parents=iter([first.id]))
    assert first.id in second.ancestors_named
    for wrong in (None, 5, "text", [None], [str(first.id)], [b"x"], [[first.id]], first.id):
        with pytest.raises(InvalidInputError):
            chain.append(LONG, parents=wrong)
    with pytest.raises(InvalidInputError):
        chain.append(b"3", parents=iter(lambda: first.id, None))  # without end
    assert len(chain) == 2
