from __future__ import annotations

import contextlib
import io
import os
import selectors
import socket
import stat
import threading
from typing import Any, cast

import pytest

from frontends.calls import Call, perform
from frontends.failures import FailedError
from frontends.lines import MAX_LINE_BYTES
from frontends.local_socket import LocalServer, ask, dial

WAIT_S = 30.0


class Verbs:
    """Made-up verbs that show what a server does with them."""

    def __init__(self) -> None:
        self.left = threading.Event()
        self.taken: list[int] = []

    def echo(self, call, **arguments):
        return {"said": arguments, "content": call.content.read().decode("latin-1")}

    def count(self, call, *, upto: int):
        for number in range(upto):
            yield {"number": number}
            self.taken.append(number)

    def wait(self, call):
        call.when_gone(self.left.set)
        yield {"waiting": True}
        assert self.left.wait(WAIT_S)

    def fail(self, call, *, bug: bool):
        raise ZeroDivisionError("oh") if bug else FailedError("NotFoundError", "not here", "look elsewhere", 3)


@pytest.fixture
def verbs():
    return Verbs()


@pytest.fixture
def path(tmp_path_factory, verbs):
    """The path of a server that runs in a thread."""
    path = tmp_path_factory.mktemp("s") / "run" / "node.sock"
    table = {name: getattr(verbs, name) for name in ("echo", "count", "wait", "fail")}
    server = LocalServer(
        path,
        lambda content: Call(cast("Any", None), stays_online=True, content=content),
        lambda verb, call, arguments: perform(table, verb, call, arguments),
    )
    stop, stopper = socket.socketpair()

    def serve() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(server.listener, selectors.EVENT_READ)
            selector.register(stop, selectors.EVENT_READ)
            while all(key.fileobj is not stop for key, _ in selector.select()):
                server.accept()

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    stopper.send(b"x")
    thread.join(WAIT_S)
    server.close()
    server.close()
    stop.close()
    stopper.close()
    assert not path.exists()
    for each in [each for each in threading.enumerate() if each.name in {"walytis-caller", "walytis-watcher"}]:
        each.join(WAIT_S)
        assert not each.is_alive()


def request(path, verb, arguments=None, **options):
    connection = dial(path)
    assert connection is not None
    return ask(connection, verb, arguments or {}, **options)


def test_only_its_owner_can_open_it(path):
    """C51: the socket is the owner's alone."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_arguments_content_and_answers_come_over(path):
    content = os.urandom(100_000)
    (answer,) = request(path, "echo", {"a": [1, "ä"]}, content=io.BytesIO(content))
    assert answer == {"said": {"a": [1, "ä"]}, "content": content.decode("latin-1")}


@pytest.mark.parametrize("size", [0, 1, 96 * 1024, 200_000])
def test_content_of_any_size(path, size):
    content = bytes(size)
    (answer,) = request(path, "echo", content=io.BytesIO(content))
    assert len(answer["content"]) == size


def test_answers_come_one_by_one(path):
    assert [answer["number"] for answer in request(path, "count", {"upto": 1000})] == list(range(1000))


def test_a_paced_answer_counts_as_taken_when_the_next_is_asked_for(path, verbs):
    """C16: what a follower printed is acknowledged, what it did not is not, wherever it is cut."""
    answers = request(path, "count", {"upto": 10}, paced=True)
    taken = [next(answers)["number"] for _ in range(3)]
    assert taken == [0, 1, 2]
    cast("Any", answers).close()
    for answer in request(path, "count", {"upto": 1}):  # the server has seen the other caller go by now, or soon
        assert answer == {"number": 0}
    assert verbs.taken[:2] == [0, 1]
    assert 2 not in verbs.taken
    assert 3 not in verbs.taken


def test_a_caller_that_goes_ends_what_waits(path, verbs):
    answers = request(path, "wait")
    assert next(answers) == {"waiting": True}
    cast("Any", answers).close()
    assert verbs.left.wait(WAIT_S)


def test_failures_come_over_as_they_are(path):
    with pytest.raises(FailedError) as failed:
        list(request(path, "fail", {"bug": False}))
    assert (failed.value.name, failed.value.exit_code, failed.value.hint) == ("NotFoundError", 3, "look elsewhere")


def test_a_bug_in_a_verb_is_told_and_the_server_goes_on(path):
    with pytest.raises(FailedError) as failed:
        list(request(path, "fail", {"bug": True}))
    assert failed.value.exit_code == 1
    assert len(list(request(path, "count", {"upto": 2}))) == 2


@pytest.mark.parametrize(
    "line", [b"", b"garbage\n", b"[]\n", b'{"verb": 1}\n', b"{" * 2000 + b"\n", b"x" * (MAX_LINE_BYTES + 10)]
)
def test_nonsense_ends_one_caller_only(path, line):
    connection = dial(path)
    assert connection is not None
    with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.settimeout(WAIT_S)
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            continue
    assert len(list(request(path, "count", {"upto": 2}))) == 2


def test_nobody_listens(tmp_path):
    assert dial(tmp_path / "none.sock") is None
