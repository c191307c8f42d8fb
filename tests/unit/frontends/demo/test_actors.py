from __future__ import annotations

import sys
import time

import pytest

from frontends.demo.actors import Troupe
from frontends.failures import FailedError

SCRIPT = """
import sys, time
from frontends.demo.voice import Voice
voice = Voice()
what = sys.argv[1]
if what == "noise":
    sys.stdout.write("no line"); sys.stdout.flush(); sys.exit(3)
if what == "fails":
    voice.say("failed", message="on purpose")
voice.say("open")
while (order := voice.hear()) is not None:
    if what == "mute":
        continue
    if order["do"] == "die":
        sys.stderr.write("the last words"); sys.exit(4)
    voice.say("did", what=order["do"])
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "an_actor.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "an_actor"


def test_orders_are_followed_and_nobody_is_left(module, tmp_path):
    """C46: a demo leaves no process."""
    heard = []
    with Troupe(tmp_path, lambda _actor, message: heard.append(message)) as troupe:
        actor = troupe.start("one", module, "obey")
        actor.tell(do="jump")
        troupe.until(lambda: {"is": "did", "what": "jump"} in heard, "jumping")
    assert actor.process.poll() is not None


@pytest.mark.parametrize(("what", "expected"), [("noise", "ended with code 3"), ("fails", "on purpose")])
def test_a_process_that_fails_ends_the_wait(module, tmp_path, what, expected):
    with Troupe(tmp_path, lambda *_: None) as troupe:
        troupe.start("one", module, what)
        with pytest.raises(FailedError, match=expected):
            troupe.until(lambda: False, "waiting")


def test_a_process_that_dies_is_quoted(module, tmp_path):
    with Troupe(tmp_path, lambda *_: None) as troupe:
        troupe.start("one", module, "obey").tell(do="die")
        with pytest.raises(FailedError) as failed:
            troupe.until(lambda: False, "waiting")
    assert "the last words" in failed.value.hint


def test_a_process_that_says_nothing_ends_the_wait(module, tmp_path):
    with Troupe(tmp_path, lambda *_: None) as troupe:
        actor = troupe.start("one", module, "mute")
        started = time.monotonic()
        with pytest.raises(FailedError, match="nothing happened"):
            troupe.until(lambda: False, "waiting", stall_s=1.0)
        assert time.monotonic() - started < 60
    assert actor.process.poll() is not None


def test_who_was_dismissed_may_die(module, tmp_path):
    heard = []
    with Troupe(tmp_path, lambda _actor, message: heard.append(message)) as troupe:
        actor, other = troupe.start("one", module, "obey"), troupe.start("two", module, "obey")
        troupe.until(lambda: len(heard) == 2, "starting")
        troupe.dismiss(actor)
        assert actor.kill() == -9
        actor.tell(do="nothing")  # is not an error: it is gone
        other.tell(do="go on")
        troupe.until(lambda: len(heard) == 3, "going on")
    assert sys.exc_info() == (None, None, None)
