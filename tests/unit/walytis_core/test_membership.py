"""The app is asked in few threads, is waited for no longer than the asker waits, and its errors let nobody in."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from tests.suites.nodes import Circle
from walytis_core.limits import Limits
from walytis_core.membership import _AT_ONCE, Membership
from walytis_core.seals import ChainSecret

KEY = bytes(32)


def test_the_apps_answer_counts() -> None:
    """C42: for the identity that was named."""
    membership = Membership(Circle("did:alice", lambda did, key: (did, key) == ("did:alice", KEY)))
    assert trio.run(membership.admits, "did:alice", KEY) is True
    assert trio.run(membership.admits, "did:bob", KEY) is False


def test_without_an_app_nobody_is_a_member() -> None:
    """C42: nor while a member function is missing."""
    assert trio.run(Membership(None).admits, "did:alice", KEY) is False


def test_an_app_that_raises_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    """C42: its error is logged, without the text, which may quote a peer."""

    def members(did: str, _key: bytes) -> bool:
        raise KeyError(did)

    assert trio.run(Membership(Circle("", members)).admits, "did:alice", KEY) is False
    assert "KeyError" in caplog.text
    assert "did:alice" not in caplog.text


def test_the_secrets_that_members_share(caplog: pytest.LogCaptureFixture) -> None:
    """C36, C42: a few, the newest first; none of who is not known, fails, or is not asked yet."""
    circle = Circle("did:alice")
    circle.shared = [ChainSecret(number, bytes(32)) for number in range(2 * Limits.secrets_at_once)]
    membership = Membership(None)
    assert trio.run(membership.secrets, "did:alice") == ()
    membership.use(circle)
    assert trio.run(membership.secrets, "did:alice") == tuple(circle.shared[: Limits.secrets_at_once])
    assert trio.run(membership.secrets, "did:bob") == ()
    circle.shared = None  # type: ignore[assignment]
    assert trio.run(membership.secrets, "did:alice") == ()
    assert "TypeError" in caplog.text


def test_an_app_that_takes_its_time() -> None:
    """C42: the loop goes on, few threads wait, and who gives up waiting is free at once."""
    answer, counting, inside, most = threading.Event(), threading.Lock(), 0, 0

    def members(_did: str, _key: bytes) -> bool:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside)
        answer.wait(30)
        with counting:
            inside -= 1
        return True

    async def main() -> None:
        membership, given_up, answers = Membership(Circle("", members)), trio.CancelScope(), []

        async def ask() -> None:
            answers.append(await membership.admits("did:alice", KEY))

        async def give_up() -> None:
            with given_up:
                await ask()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2 * _AT_ONCE):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()  # the loop goes on
            given_up.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert (given_up.cancelled_caught, answers) == (True, [])
            answer.set()
        assert answers == [True] * (2 * _AT_ONCE)
        assert most <= _AT_ONCE

    trio.run(main)
