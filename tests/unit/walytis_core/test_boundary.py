"""The boundary around what is done for one peer: what ends there, what passes, and what is logged."""

from __future__ import annotations

import logging

import pytest
import trio

from walytis_core.boundary import for_peer
from walytis_core.errors import ClosedError, NotFoundError, Reason, RemoteError, StorageError, UnavailableError


class Told:
    """What the boundary told."""

    def __init__(self) -> None:
        self.faults: list[tuple[Reason, str]] = []

    def run(self, error: BaseException) -> None:
        with for_peer("bob", "a test", lambda reason, peer: self.faults.append((reason, peer))):
            raise error


@pytest.mark.parametrize(
    ("error", "faults"),
    [
        (UnavailableError("gone"), []),
        (ClosedError("closed"), []),
        (NotFoundError("deleted"), []),
        (StorageError("the disk is full"), []),
        (RemoteError(Reason.BAD_SEAL), [(Reason.BAD_SEAL, "bob")]),
        (KeyError("a bug"), [(Reason.BROKE_US, "bob")]),
        (ExceptionGroup("", [KeyError("a bug"), UnavailableError("gone")]), [(Reason.BROKE_US, "bob")]),
    ],
    ids=["gone", "closed", "deleted", "disk", "refused", "bug", "group"],
)
def test_what_a_peer_leads_to_ends_there(error: Exception, faults: list[tuple[Reason, str]]) -> None:
    """C36: an error that a peer's bytes led to is counted against that peer, and goes no further."""
    told = Told()
    told.run(error)
    assert told.faults == faults


@pytest.mark.parametrize("make", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes(make: type[BaseException]) -> None:
    """C46: a boundary does not keep the process from ending."""
    with pytest.raises(make):
        Told().run(make())


def test_a_cancellation_passes_while_a_bug_ends_there() -> None:
    """C46: where both come together the bug is counted and the task is cancelled."""
    told, after = Told(), list[str]()

    async def main() -> None:
        with trio.CancelScope() as scope:
            with for_peer("bob", "a test", lambda *fault: told.faults.append(fault)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    scope.cancel()
                    raise KeyError("a bug")
            after.append("not here")  # a checkpoint in the nursery saw the cancellation
        assert scope.cancelled_caught

    trio.run(main)
    assert not after
    assert told.faults == [(Reason.BROKE_US, "bob")]


def test_nothing_of_what_was_sent_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """C47: the log has the place of the error and its type; its text may quote what a peer sent."""
    Told().run(KeyError("the secret payload"))
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "KeyError" in record.getMessage()
    assert "test_boundary.py" in record.getMessage()
    assert "bob" in record.getMessage()
    assert "the secret" not in caplog.text.replace('raise KeyError("the secret payload")', "")
