from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from walytis_core import addresses
from walytis_core.addresses import MAX_ADDRESSES, MAX_DELAY_S, MAX_DIALLING, AddressBook
from walytis_core.limits import Limits


def at(peer: str, number: int = 1) -> str:
    return f"/ip4/192.0.2.{number}/tcp/4001/p2p/{peer}"


def test_addresses_that_worked_come_first() -> None:
    book = AddressBook()
    book.learn("bob", [at("bob", 1), at("bob", 2), at("bob", 3)], now=0)
    book.connected("bob", at("bob", 2), now=1, round_trip_s=0.05)
    book.disconnected("bob", now=2, jitter=0.5)
    book.connected("bob", at("bob", 3), now=3, round_trip_s=0.01)
    assert book.best("bob") == [at("bob", 3), at("bob", 2), at("bob", 1)]
    book.disconnected("bob", now=4, jitter=0.5)
    book.failed("bob", now=5, jitter=0.5, addresses=[at("bob", 3)])
    assert book.best("bob")[0] == at("bob", 2)
    assert book.best("nobody") == []


def test_redials_with_exponential_backoff_and_jitter() -> None:
    book = AddressBook()
    book.learn("bob", [at("bob")], now=100)
    now = 100.0
    for attempt in range(14):
        assert book.due(now) == [("bob", [at("bob")])]
        assert book.due(now) == []  # it is being dialled
        book.failed("bob", now, jitter=0.5)
        now += min(0.5 * 2**attempt, MAX_DELAY_S)
        assert book.due(now - 0.001) == []
    assert book.due(now)
    book.connected("bob", at("bob"), now)
    assert book.due(now + 1000) == []
    book.disconnected("bob", now, jitter=1.0)
    assert book.due(now + 0.499) == []
    assert book.due(now + 0.5) == [("bob", [at("bob")])]  # starts anew after a success


def test_a_peer_that_dialled_us_and_told_no_address_is_not_kept() -> None:
    book = AddressBook()
    book.connected("stranger", None, now=1)
    assert "stranger" in book
    assert book.due(10) == []
    book.disconnected("stranger", now=2, jitter=0.1)
    assert "stranger" not in book


def test_what_peers_say_is_bounded() -> None:
    """C36: hostile addresses are left out, and never displace those that worked."""
    book = AddressBook()
    book.connected("bob", at("bob"), now=1)
    hostile = [
        at("carol"),
        "/x" * 500 + "/p2p/bob",
        "no/p2p/bob",
        "",
        "/ip4/\x00/p2p/bob",
        "/ip4/\u0661/p2p/bob",
        *(at("bob", number) for number in range(2, 250)),
    ]
    for _ in range(5):
        book.learn("bob", hostile, now=2)
    assert len(book.best("bob")) == MAX_ADDRESSES
    assert book.best("bob")[0] == at("bob")
    book.learn("eve", (at("eve", number) for number in iter(int, 1)), now=3)  # endless
    assert len(book.best("eve")) == 1


def test_peers_remembered_are_bounded() -> None:
    """C36: strangers displace strangers, not those who were reached, nor those who are connected."""
    book = AddressBook(limit=10)
    for number in range(5):
        book.connected(f"friend{number}", at(f"friend{number}"), now=number + 1)
    book.disconnected("friend0", now=10, jitter=0.0)
    for number in range(100):
        book.learn(f"stranger{number}", [at(f"stranger{number}")], now=20)
    assert len(book) == 10
    assert all(f"friend{number}" in book for number in range(5))


def test_few_are_dialled_at_once() -> None:
    book = AddressBook()
    for number in range(100):
        book.learn(f"peer{number:02}", [at(f"peer{number:02}")], now=number)
    first = book.due(1000)
    assert [peer for peer, _ in first] == [f"peer{number:02}" for number in range(MAX_DIALLING)]
    assert book.due(1000) == []
    book.failed("peer00", now=1000, jitter=0.9)
    assert len(book.due(1000)) == 1


def test_forgets() -> None:
    book = AddressBook()
    book.learn("bob", [at("bob")], now=0)
    book.forget("bob")
    book.forget("bob")
    book.failed("bob", now=1, jitter=0.0)
    book.disconnected("bob", now=1, jitter=0.0)
    assert len(book) == 0
    assert book.due(1000) == []


def test_is_kept_across_restarts() -> None:
    book = AddressBook()
    book.learn("bob", [at("bob", 1), at("bob", 2)], now=5)
    book.connected("bob", at("bob", 2), now=6.5, round_trip_s=0.002)
    book.learn("carol", [at("carol")], now=7)
    again = AddressBook.from_data(book.to_data())
    assert again.to_data() == book.to_data()
    assert again.best("bob") == book.best("bob")
    assert {peer for peer, _ in again.due(0.0)} == {"bob", "carol"}


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=20))
def test_damaged_data_gives_a_book(data: object) -> None:
    assert AddressBook.from_data(data).due(0.0) == []


steps = st.lists(
    st.tuples(
        st.sampled_from(["learn", "hear", "connected", "inbound", "disconnected", "failed", "due", "forget"]),
        st.sampled_from("abcdefghijkl"),
        st.floats(0, 1),
    ),
    max_size=60,
)


@given(steps)
def test_invariants(todo: list[tuple[str, str, float]]) -> None:
    """Never due while connected or being dialled; never too many; every address names its peer."""
    book, connected, dialling, now = AddressBook(limit=6), set(), set(), 0.0
    for what, peer, number in todo:
        now += number
        match what:
            case "learn":
                book.learn(peer, [at(peer, round(number * 9))], now)
            case "hear":
                book.hear("teller", peer, [at(peer, round(number * 9))], now)
            case "connected" | "inbound":
                book.connected(peer, at(peer) if what == "connected" else None, now)
                connected.add(peer)
                dialling.discard(peer)
            case "disconnected":
                book.disconnected(peer, now, jitter=number)
                connected.discard(peer)
            case "failed":
                book.failed(peer, now, jitter=number)
                dialling.discard(peer)
            case "forget":
                book.forget(peer)
                connected.discard(peer)
                dialling.discard(peer)
            case _:
                due = book.due(now)
                assert not {one for one, _ in due} & (connected | dialling & set(book._peers))
                dialling |= {one for one, _ in due}
                assert all(found and all(text.endswith(f"/p2p/{one}") for text in found) for one, found in due)
        assert len(book) <= max(6, len(connected) + 1)
        assert sum(known.dialling for known in book._peers.values()) <= addresses.MAX_DIALLING


def test_hearsay_displaces_nothing() -> None:
    """C36: what others tell of a peer is kept apart, little of it, and tried last; a peer that was met stays in the book."""
    book = AddressBook(limit=20)
    book.learn("bob", [at("bob", 1)], now=0)
    book.connected("bob", None, now=0)
    for teller in range(50):
        book.hear(f"liar{teller}", "bob", [at("bob", number) for number in range(2, 10)], now=1)
    assert book.best("bob")[0] == at("bob", 1)
    assert len(book.best("bob")) == 1 + Limits.hearsay_addresses
    book.learn("bob", [at("bob", 1), at("bob", 3)], now=2)
    assert set(book.best("bob")[:2]) == {at("bob", 1), at("bob", 3)}
    book.disconnected("bob", now=3, jitter=0.0)
    for number in range(300):
        book.hear(f"liar{number}", f"made up {number}", [at(f"made up {number}")], now=4)
    assert "bob" in book
    assert (len(book), book.count_told()) == (20, 1)
    again = AddressBook.from_data(book.to_data())
    assert again.best("bob") == [at("bob", 1), at("bob", 3)]
    assert len(again) == 1, "hearsay is not kept"


def test_hearsay_never_displaces_those_who_told_of_themselves() -> None:
    """C36: a full book takes no hearsay."""
    book = AddressBook(limit=5)
    for number in range(5):
        book.learn(f"peer{number}", [at(f"peer{number}")], now=0)
    book.hear("liar", "made-up", [at("made-up")], now=1)
    assert "made-up" not in book
    assert len(book) == 5


def test_one_peer_introduces_few_a_minute() -> None:
    """C36: so many a minute of one peer, whether it comes again or not, and only what is new counts."""
    book = AddressBook()

    def told(now: float) -> int:
        before = len(book)
        for number in range(100):
            book.hear("liar", f"{now} {number}", [at(f"{now} {number}")], now)
            book.hear("liar", f"{now} {number}", [at(f"{now} {number}")], now)
        return len(book) - before

    assert told(0.0) == Limits.introductions_per_minute
    assert told(1.0) == 0
    assert told(61.0) == Limits.introductions_per_minute
    for number in range(1000):
        book.hear(f"liar{number}", "x", [at("x", number % 250)], 62.0 + number)
    assert len(book._tellers) <= 60 + Limits.introductions_per_minute


def test_hearsay_is_dialled_rarely_and_last() -> None:
    """C36: a liar has us dial a bounded number of addresses a minute, and leaves places for peers that are known."""
    book, dials, now = AddressBook(), 0, 0.0
    for second in range(60):
        for number in range(16):
            name = f"{second} {number}"
            book.hear(f"liar {name}", name, [at(name, one) for one in range(1, 9)], now)
        for peer, found in book.due(now):
            dials += len(found)
            book.failed(peer, now, jitter=0.5)
        now += 1
    assert dials <= 2 * Limits.hearsay_dials_per_minute * Limits.hearsay_addresses
    for number in range(MAX_DIALLING):
        book.learn(f"known{number}", [at(f"known{number}")], now)
    assert {peer for peer, _ in book.due(now)} == {f"known{number}" for number in range(MAX_DIALLING)}


def test_hearsay_that_proves_right_is_as_good_as_any() -> None:
    """C38: a peer that was only told of is dialled, and once it was met, it and its address stay."""
    book = AddressBook()
    book.hear("alice", "carol", [at("carol")], now=0)
    assert book.due(0) == [("carol", [at("carol")])]
    book.connected("carol", at("carol"), now=1)
    assert AddressBook.from_data(book.to_data()).best("carol") == [at("carol")]
    book.hear("alice", "nobody", [at("nobody")], now=1)
    now = 1.0
    for _ in range(addresses.HEARSAY_TRIES):
        now += MAX_DELAY_S
        assert [peer for peer, _ in book.due(now)] == ["nobody"]
        book.failed("nobody", now, jitter=0.5)
    assert "nobody" not in book
