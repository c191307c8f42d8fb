"""Fetching content: one peer at a time for a piece, checked when whole, others asked when it does not come."""

from __future__ import annotations

from tests.suites.making import some_id
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import Reason
from walytis_core.events import Effect, Fetched, Notify, PutSide, Reject, Send, SetTimer
from walytis_core.fetching import Fetching
from walytis_core.messages import SidePart, SideWant

DATA = bytes(range(256)) * 1024
CID = Cid.of(DATA, RAW_PREFIX)
HALF = 128 * 1024
MANY = [Cid.of(b"%d" % n, RAW_PREFIX) for n in range(20)]


def wants(effects: list[Effect]) -> dict[str, tuple[Cid, ...]]:
    return {
        effect.peer: effect.message.cids
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, SideWant)
    }


def first() -> SidePart:
    return SidePart(CID, 0, len(DATA), DATA[:HALF])


def second() -> SidePart:
    return SidePart(CID, HALF, len(DATA), DATA[HALF:])


def test_two_parts_make_a_piece():
    """C50: a piece is kept when it is whole and its bytes match its CID."""
    fetching = Fetching()
    assert wants(fetching.want([CID], ["a"])) == {"a": (CID,)}
    assert fetching.part("a", first(), ["a"]) == []
    assert fetching.part("a", second(), ["a"]) == [PutSide(CID, DATA), Notify(Fetched((CID,)))]
    assert fetching.part("a", second(), ["a"]) == [Reject(Reason.UNASKED, "a")]


def test_what_is_wanted_for_some_readers():
    """C42: it is kept with their label, also where it is wanted without one meanwhile; the label is no one's that comes later."""
    fetching = Fetching()
    for readers in ("members", ""):
        fetching.want([CID], ["a"], readers)
    fetching.part("a", first(), ["a"])
    assert fetching.part("a", second(), ["a"])[0] == PutSide(CID, DATA, "members")
    fetching.want([CID], [], "members")  # nobody has it
    fetching.want([CID], ["a"])
    fetching.part("a", first(), ["a"])
    assert fetching.part("a", second(), ["a"])[0] == PutSide(CID, DATA)


def test_wrong_bytes():
    """C50: bytes that do not match are never kept: the peer is blamed, and another one asked."""
    fetching = Fetching()
    fetching.want([CID], ["a", "b"])
    fetching.part("a", first(), ["a", "b"])
    effects = fetching.part("a", second()._replace(data=bytes(HALF)), ["a", "b"])
    assert effects[0] == Reject(Reason.BAD_CONTENT, "a")
    assert wants(effects) == {"b": (CID,)}
    effects = fetching.part("b", SidePart(CID, 0, 3, b"abc"), ["a", "b"])
    assert effects == [Reject(Reason.BAD_CONTENT, "b"), Notify(Fetched((CID,), missing=True))]


def test_parts_that_were_not_asked_for():
    """C36: from another peer, at another offset, of another piece."""
    fetching = Fetching()
    fetching.want([CID], ["a"])
    for peer, part in (("b", first()), ("a", second()), ("a", SidePart(MANY[0], 0, 1, b"x"))):
        assert fetching.part(peer, part, ["a", "b"]) == [Reject(Reason.UNASKED, peer)]


def test_an_empty_part_is_no_progress():
    """C36: a part without bytes of a piece that is not whole."""
    fetching = Fetching()
    fetching.want([CID], ["a"])
    assert fetching.part("a", SidePart(CID, 0, 9, b""), ["a"])[0] == Reject(Reason.BAD_CONTENT, "a")


def test_who_lacks_it_is_not_asked_twice():
    """C50: each peer is asked once; then the piece is said to be missing, and can be wanted again."""
    fetching = Fetching()
    peers = ["a", "b", "c"]
    asked = []
    effects = fetching.want([CID], peers)
    while wants(effects):
        (peer,) = wants(effects)
        asked.append(peer)
        effects = fetching.lacking(peer, [CID], peers)
    assert sorted(asked) == peers
    assert effects == [Notify(Fetched((CID,), missing=True))]
    assert wants(fetching.want([CID], peers))


def test_no_more_than_eight_at_once():
    """C36, C50: memory is bounded by the pieces under way, which are spread over the peers."""
    fetching = Fetching()
    effects = fetching.want(MANY, ["a", "b"])
    assert {peer: len(cids) for peer, cids in wants(effects).items()} == {"a": 4, "b": 4}
    assert wants(fetching.want(MANY, ["a", "b"])) == {}
    effects = fetching.part("a", SidePart(MANY[0], 0, 1, b"0"), ["a", "b"])
    assert sum(map(len, wants(effects).values())) == 1


def test_a_lost_peer():
    """C33, C50: what was asked of a peer that is gone is asked of another."""
    fetching = Fetching()
    fetching.want(MANY[:2], ["a"])
    assert wants(fetching.lost("a", ["b"])) == {"b": tuple(MANY[:2])}
    assert fetching.lost("b", []) == [Notify(Fetched(tuple(MANY[:2]), missing=True))]


def test_patience_is_for_each_piece():
    """C36: a peer that stalls loses its piece, whatever other pieces do; one that moves keeps its own."""
    fetching = Fetching()
    fetching.want([CID, some_id(1)], ["a", "b"])
    assert fetching.patience(["a", "b"]) == [SetTimer("side", 10.0)]
    fetching.part("a", first(), ["a", "b"])
    effects = fetching.patience(["a", "b"])
    assert wants(effects) == {"a": (some_id(1),)}
    assert SetTimer("side", 10.0) in effects
    effects = fetching.patience(["a", "b"])
    assert wants(effects) == {"b": (CID,)}


def test_nothing_wanted():
    """C50: without anything under way nothing is done, and no timer runs."""
    fetching = Fetching()
    assert fetching.want([], ["a"]) == fetching.patience(["a"]) == fetching.lost("a", []) == []
    assert fetching.want([CID], []) == [Notify(Fetched((CID,), missing=True))]
