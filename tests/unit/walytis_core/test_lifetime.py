"""A node ends once; from then on calls raise with the cause, and nobody waits for ever."""

from __future__ import annotations

import os
import threading

import pytest
import trio

from walytis_core.errors import ClosedError
from walytis_core.lifetime import Lifetime
from walytis_core.pending import Pending


async def rest(_nursery: trio.Nursery) -> None:
    await trio.sleep_forever()


def test_closing_tells_who_waits() -> None:
    """C46: pending results fail at the end, and the end comes once."""
    life = Lifetime(rest, lambda: None)
    life.start()
    life.require_open()
    pending = life.attend(Pending[int](), trio.sleep_forever)
    assert life.begin_end()
    assert not life.begin_end()
    life.end()
    with pytest.raises(ClosedError):
        pending.result(5)
    with pytest.raises(ClosedError):
        life.require_open()
    assert life.failure is None


def test_a_crash_names_its_cause() -> None:
    """C46: first what the node holds is closed, then those who wait are told, with the cause."""
    told: list[bool] = []
    go = trio.Event()
    pending = Pending[int]()

    async def main(_nursery: trio.Nursery) -> None:
        await go.wait()
        raise RuntimeError("a bug")

    life = Lifetime(main, lambda: told.append(pending.done()))
    life.start()
    _ = life.attend(pending, trio.sleep_forever)
    life.loop.post(go.set)
    with pytest.raises(ClosedError) as caught:
        pending.result(5)
    assert str(caught.value.__cause__) == "a bug"
    assert told == [False]
    with pytest.raises(ClosedError, match="RuntimeError"):
        life.require_open()
    assert life.failure is not None
    assert life.begin_end()
    life.end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """C46: it ends nothing, for loop and threads are its parent's."""
    life = Lifetime(rest, lambda: None)
    life.start()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        assert not life.begin_end()
        with pytest.raises(ClosedError, match="fork"):
            life.require_open()
    assert threading.active_count() > 1
    assert life.begin_end()
    life.end()


def test_what_begins_after_the_end_fails() -> None:
    """C46: a call that another thread's `close()` overtakes does not wait for ever."""
    life = Lifetime(rest, lambda: None)
    life.start()
    assert life.begin_end()
    life.end()
    pending = life.attend(Pending[int](), trio.sleep_forever)
    with pytest.raises(ClosedError, match="closed"):
        pending.result(0)
