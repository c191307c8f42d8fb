from __future__ import annotations

import io

import pytest

from frontends.failures import FailedError
from frontends.lines import MAX_LINE_BYTES, read_line, write_line


@pytest.mark.parametrize("message", [{}, {"a": [1, None, "ä\n\t"], "b": {"c": True}}, {"text": "\ud800"}])
def test_what_is_written_is_one_line_and_read_again(message):
    stream = io.BytesIO()
    write_line(stream, message)
    assert stream.getvalue().count(b"\n") == 1
    stream.seek(0)
    assert read_line(stream) == message
    assert read_line(stream) is None


@pytest.mark.parametrize("line", [b"{}", b"nonsense\n", b"[1]\n", b"\xff\n", b"1\n", b"\n"])
def test_what_is_no_line_of_one_object_is_refused(line):
    with pytest.raises(FailedError):
        read_line(io.BytesIO(line))


def test_an_endless_line_is_refused_before_it_is_held():
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer):
            buffer[:] = b"x" * len(buffer)
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(FailedError):
        read_line(io.BufferedReader(endless))
    assert endless.given < 2 * MAX_LINE_BYTES
