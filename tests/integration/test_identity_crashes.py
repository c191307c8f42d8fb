"""An identity whose device is cut off in the middle: of being made, of a recovery, of a renewal of the device's keys."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from identities import taking_back
from identities.actor import Actor
from identities.identities import Identities
from identities.identity import Identity
from identities.recovery import RecoveryCode
from identities.rounds import Rounds
from identities.suites import ED25519
from identities.worker import Worker
from tests.suites.identity_nodes import NEVER, assert_is_fold
from tests.suites.nodes import assert_sound, until
from walytis_core import Node, NotAllowedError

POINTS = ["nothing", "added", "renewed", "admitted", "recovered"]


class CutOffError(BaseException):
    """Where a device is cut off: nothing of what follows is done."""


@contextmanager
def at_home(directory: Path) -> Iterator[Identities]:
    """A device that is switched on."""
    with Node.open(directory) as node, Identities(node, renewal=NEVER) as identities:
        yield identities


@contextmanager
def before_any_work(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Identities]:
    """The same, where the app is quicker than the work, which begins at the end."""
    start = Rounds.start
    with monkeypatch.context() as patch, Node.open(directory) as node:
        patch.setattr(Rounds, "start", lambda _self: None)
        with Identities(node, renewal=NEVER) as identities:
            try:
                yield identities
            finally:
                start(identities._home.rounds)


def cut_off_at(patch: pytest.MonkeyPatch, point: str, cut_off: Callable[[], None]) -> None:
    """Has a recovery be cut off before it has written anything, or after one of its steps."""
    says = Actor.recover

    def saying(actor, code, kind, *said):
        if point == "nothing" or (point == "admitted" and kind == "recovered"):
            cut_off()
        block = says(actor, code, kind, *said)
        if kind == point:
            cut_off()
        return block

    patch.setattr(Actor, "recover", saying)


def raise_cut_off() -> None:
    raise CutOffError


def assert_is_whole(alice: Identity) -> None:
    """This device has a live seat, signs with it and with the identity's keys, and may write."""
    assert alice.status().is_seated
    until(lambda: alice.status().has_keys)
    assert alice.verify(b"x", alice.sign(b"x")).did == alice.did
    alice.renew()
    assert_is_fold(alice)
    assert_sound(alice.chain)


@pytest.mark.parametrize("point", POINTS)
def test_a_recovery_that_was_cut_off(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I32: a living seat keeps its keys; the same code again goes on, and gives the code that was promised, which is good."""
    with at_home(tmp_path) as home:
        alice, code = home.create("alice", suite=ED25519)
        alice.recovery_code_kept()
        with monkeypatch.context() as patch:
            cut_off_at(patch, point, raise_cut_off)
            patch.setattr(taking_back, "_settle", lambda _home, held, _keyring: held)  # nothing runs after a kill
            with pytest.raises(CutOffError):
                home.recover(code, alice.did, is_last_copy=True)
        kept = dict(home._home.ring_of(home.known(alice.did)._held).codes)
    with at_home(tmp_path) as home:
        alice = home.get("alice")
        assert_is_whole(alice)
        assert (alice.pending_recovery_code is not None) == (point == "recovered")
        alice, following = home.recover(code, alice.did, is_last_copy=True)
        assert list(kept.values()) in ([following.secret], [])
        assert_is_whole(alice)
        assert alice.pending_recovery_code == following
        assert home.recover(code, alice.did, is_last_copy=True) == (alice, following)
        with pytest.raises(NotAllowedError):
            home.recover(code, alice.did, remove=[seat.id for seat in alice.folded.authority.live], is_last_copy=True)
        alice.recovery_code_kept()
        with pytest.raises(NotAllowedError):
            home.recover(code, alice.did, is_last_copy=True)
        assert len([seat for seat in alice.seats() if seat.kind == "device"]) == 2, "one seat is added, however often"
        alice, last = home.recover(following, alice.did, is_last_copy=True)
        assert alice.pending_recovery_code == last
        assert_is_whole(alice)


def test_a_recovery_code_is_kept_until_it_is_written_down(tmp_path: Path) -> None:
    """I16, I32: also over restarts; then the device knows it no more. A wrong code changes nothing."""
    with at_home(tmp_path) as home:
        alice, code = home.create("alice", suite=ED25519)
    with at_home(tmp_path) as home:
        alice = home.get("alice")
        assert alice.pending_recovery_code == code
        with pytest.raises(NotAllowedError):
            home.recover(RecoveryCode.fresh(), alice.did, is_last_copy=True)
        assert home.get("alice").pending_recovery_code == code
        assert_is_whole(alice)
        alice.recovery_code_kept()
        alice.recovery_code_kept()
        assert alice.pending_recovery_code is None
    with at_home(tmp_path) as home:
        assert home.get("alice").pending_recovery_code is None


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_renewal_of_the_devices_keys_that_was_cut_off(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: before it was written its keys are used by the next one; after it, they are the device's."""
    with at_home(tmp_path) as home:
        alice, _ = home.create("alice", suite=ED25519)
        writes = Actor.act

        def act(actor, kind, body):
            block = writes(actor, kind, body) if point == "after" or kind != "rekeyed" else None
            if kind == "rekeyed":
                raise CutOffError
            return block

        with monkeypatch.context() as patch:
            patch.setattr(Actor, "act", act)
            patch.setattr(Worker, "take_up_next_device", lambda _self: None)
            patch.setattr(Rounds, "wake", lambda _self, _chain: None)
            with pytest.raises(CutOffError):
                alice.rekey()
            coming = alice._held.actor.keyring.next_device
    with before_any_work(tmp_path, monkeypatch) as home:
        alice = home.get("alice")
        alice.rekey()
        assert (alice._held.actor.keyring.device == coming) == (point == "before")
        assert alice.status().is_seated
    with at_home(tmp_path) as home:
        assert_is_whole(home.get("alice"))
        assert len(home.get("alice").seats()) == {"before": 3, "after": 4}[point]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_another_process(work: Callable[..., None], *arguments: object) -> None:
    """Runs what ends by a kill."""
    child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def _recover_and_die(directory: Path, point: str) -> None:
    with at_home(directory) as home:
        alice, code = home.create("alice")
        (directory / "code").write_text(str(code), encoding="ascii")
        cut_off_at(pytest.MonkeyPatch(), point, die)
        home.recover(code, alice.did, is_last_copy=True)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_recovery_that_was_killed(tmp_path: Path, point: str) -> None:
    """I32: nothing is lost by a kill at any step: neither the seat, nor the next code."""
    in_another_process(_recover_and_die, tmp_path, point)
    code = RecoveryCode.parse((tmp_path / "code").read_text(encoding="ascii"))
    with at_home(tmp_path) as home:
        assert_is_whole(home.get("alice"))
        alice, following = home.recover(code, home.get("alice").did, is_last_copy=True)
        assert_is_whole(alice)
        assert alice.pending_recovery_code == following


def _rekey_and_die(directory: Path) -> None:
    with at_home(directory) as home:
        alice, _ = home.create("alice")
        says = Actor.act

        def act(actor, kind, body):
            says(actor, kind, body)
            die()

        pytest.MonkeyPatch().setattr(Actor, "act", act)
        alice.rekey()


@pytest.mark.slow
def test_a_renewal_of_the_devices_keys_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I11: the next one, called before anything else, does not lock the device out."""
    in_another_process(_rekey_and_die, tmp_path)
    with before_any_work(tmp_path, monkeypatch) as home:
        home.get("alice").rekey()
    with at_home(tmp_path) as home:
        assert_is_whole(home.get("alice"))
