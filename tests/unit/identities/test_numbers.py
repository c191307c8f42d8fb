"""Numbers of renewals: above all that were ever written, by those that do not count, too."""

from __future__ import annotations

from identities.acts import (
    ADDED,
    MAX_JUMP,
    REMOVED,
    RENEWED,
    Act,
    Device,
    GenesisSeats,
    Recovery,
    Removal,
    Renewal,
    SeatId,
)
from identities.authority import decide
from identities.epochs import Epochs

OURS, THEIRS = Device(b"ours", b"", b"", b"our key"), Device(b"theirs", b"", b"", b"their key")
GENESIS = GenesisSeats(b"chain", (Recovery(b"code"), OURS), b"", b"")


def renewed(
    id: bytes, height: int, author: bytes, seat: SeatId, number: int, wraps: dict[SeatId, bytes], *seen: bytes
) -> Act:
    return Act(id, height, author, RENEWED, (seat,), seen, Renewal(number, b"chain", id, id, wraps))


HISTORY = [
    Act(b"add", 1, b"ours", ADDED, (1,), (), THEIRS),
    renewed(b"good", 2, b"ours", 1, 1, {1: b"our key", b"add": b"their key"}, b"add"),
    Act(b"removal", 3, b"ours", REMOVED, (1,), (b"good",), Removal((b"add",), (b"good",))),
]


def after(*acts: Act) -> Epochs:
    return Epochs(GENESIS, decide(GENESIS, [*HISTORY, *acts]))


def test_they_go_on_above_what_does_not_count() -> None:
    """I05, I07: an outsider who was shown a removed device's epoch finds a higher one."""
    void = renewed(b"void", 3, b"theirs", b"add", 7, {b"add": b"their key"}, b"good")
    epochs = after(void)
    assert (epochs.newest.number, epochs.next_number) == (1, 8)
    new = renewed(b"new", 4, b"ours", 1, 8, {1: b"our key"}, b"removal")
    current = after(void, new).current
    assert current is not None
    assert current.id == b"new"


def test_whoever_was_removed_cannot_use_them_up() -> None:
    """I05, I20: each of its renewals may jump above its last; ours goes on from the highest, which does not count."""
    void = [
        renewed(bytes([n]), 2 + n, b"theirs", b"add", 1 + n * MAX_JUMP, {}, bytes([n - 1]) if n > 1 else b"good")
        for n in range(1, 5)
    ]
    epochs = after(*void)
    assert epochs.newest.number == 1
    assert epochs.last_written == (1 + 4 * MAX_JUMP, bytes([4]))  # which ours names as the one before
    assert epochs.next_number == 2 + 4 * MAX_JUMP
    new = renewed(b"new", 9, b"ours", 1, epochs.next_number, {1: b"our key"}, b"removal")
    current = after(*void, new).current
    assert current is not None
    assert current.id == b"new"
