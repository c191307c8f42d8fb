"""A node never forks itself: when its own key is kept, replaced, or has to wait."""

from __future__ import annotations

import pytest

from tests.suites.making import ALICE, BOB, CAROL, World, some_id
from walytis_core.authors import OwnAuthor, author_key_name, first_values
from walytis_core.errors import LockedError, NotAllowedError, UnavailableError
from walytis_core.events import Arrived, Forked, Synced
from walytis_core.keys import MemoryKeys
from walytis_core.signer import Reluctant, Signer
from walytis_core.store.memory import MemoryChain
from walytis_core.store.port import Commit

WORLD, LISTED = World(), World([ALICE])


class Bench:
    """One chain's author over several openings."""

    def __init__(self, world: World = WORLD, given: Signer | None = None) -> None:
        self.world, self.given = world, given
        self.keys = MemoryKeys()
        self.store: MemoryChain = world.store()

        self.now_s, self.known_peers = 100.0, 1

    def open(self, *, is_copy: bool = False) -> OwnAuthor:
        return OwnAuthor(
            self.world.genesis, self.store, self.keys, self.given, is_copy=is_copy,
            known_peers=lambda: self.known_peers, now_s=lambda: self.now_s,
        )  # fmt: skip

    def begin(self, values: dict[str, bytes]) -> None:
        for key, value in values.items():
            self.store.put(key, value)


def test_a_key_for_each_chain():
    """C27: each chain gets a key of its own, kept before it is used, and found again."""
    bench = Bench()
    author = bench.open()
    assert bench.keys.get(author_key_name(WORLD.first.id)) is not None
    assert bench.open().signer.key == author.signer.key
    assert Bench().open().signer.key != author.signer.key


def test_a_directory_that_is_a_copy():
    """C27: a key of the node's making is replaced; a listed or given one waits for a sync."""
    bench = Bench()
    key = bench.open().signer.key
    assert bench.open(is_copy=True).signer.key != key
    for bench in (Bench(given=ALICE), Bench(LISTED), Bench(LISTED, ALICE)):
        key = bench.open().signer.key
        author = bench.open(is_copy=True)
        assert (author.signer.key, author.is_unsure) == (key, True)
        with pytest.raises(UnavailableError):
            author.require_sure()
        author = bench.open()
        assert author.is_unsure  # a restart forgets no doubt
        author.tell(Synced("peer", equal=False))
        author.require_sure()
        assert not bench.open().is_unsure


def test_peers_hold_newer_blocks_of_ours():
    """C27: then somebody else has this key, or this directory is old: a fresh key writes from now on."""
    author = Bench().open()
    key = author.signer.key
    theirs = WORLD.block(BOB)
    author.tell(Arrived([theirs]))
    assert author.signer.key == key
    own = theirs._replace(author=key)
    author.tell(Arrived([own], own=True))
    assert author.signer.key == key
    author.tell(Arrived([theirs, own]))
    assert author.signer.key != key


def test_blocks_by_a_key_that_cannot_be_replaced():
    """C27: they are taken for one's own, and show that the key wrote elsewhere: it writes on after the next sync."""
    for bench in (Bench(given=ALICE), Bench(LISTED)):
        bench.begin({} if bench.given is None else first_values(given=ALICE.key))
        author = bench.open()
        assert not author.is_unsure
        own = WORLD.block(BOB)._replace(author=author.signer.key)
        author.tell(Arrived([own], own=True))
        assert not author.is_unsure
        author.tell(Arrived([WORLD.block(CAROL)]))
        assert not author.is_unsure
        key = author.signer.key
        author.tell(Arrived([own]))
        assert (author.signer.key, author.is_unsure) == (key, True)
        assert bench.open().is_unsure
        author.tell(Synced("peer", equal=False))
        author.require_sure()


def test_a_fork_of_ours():
    """C11, C27: a key that is proven to have forked is replaced."""
    author = Bench().open()
    key = author.signer.key
    author.tell(Forked(BOB.key, 3))
    assert author.signer.key == key
    author.tell(Forked(key, 3))
    assert author.signer.key != key


def test_the_start_is_kept():
    """C09: the admission that lists the key is known after a restart."""
    bench = Bench(LISTED)
    assert bench.open().start is None
    bench.begin(first_values(given=None, admit=some_id(1)))
    assert bench.open().start == some_id(1)


def test_a_given_key_that_is_new_here():
    """C27: what it wrote elsewhere is not known until a sync."""
    assert not Bench(given=ALICE).open().is_unsure  # for a chain that was made here, with another key
    bench = Bench(given=ALICE)
    bench.begin(first_values(given=None, issuer=""))
    assert bench.open().is_unsure  # for one that came by a file
    bench.open().confirm()
    assert not bench.open().is_unsure
    bench.given = BOB
    assert bench.open().is_unsure
    bench = Bench(given=ALICE)
    bench.begin(first_values(given=ALICE.key, issuer="the inviter"))
    author = bench.open()
    with pytest.raises(UnavailableError):
        author.require_sure()
    assert bench.open().is_unsure


def test_a_key_that_is_given_later():
    """C27: one that was missing is as sure as it was; another one, on a chain that came from elsewhere, waits for a sync."""
    bench = Bench(given=ALICE)
    bench.begin(first_values(given=ALICE.key, issuer="the inviter"))
    bench.open().confirm()
    bench.given = None
    author = bench.open()
    with pytest.raises(LockedError):
        author.require_sure()
    author.use(ALICE, fresh=False)
    author.require_sure()
    author.use(BOB, fresh=False)
    assert (author.signer.key, author.is_unsure) == (BOB.key, True)
    assert bench.open().signer.key == BOB.key  # and is missing now
    author.tell(Synced("peer", equal=False))
    author.require_sure()
    author.use(CAROL, fresh=True)
    author.require_sure()
    author.tell(Arrived([WORLD.block(BOB)]))
    author.require_sure()
    author.tell(Arrived([WORLD.block(CAROL)]))  # somebody else has it
    assert (author.signer.key, author.is_unsure) == (CAROL.key, True)


def test_another_key_on_a_chain_that_began_here():
    """C27: it writes at once, and a doubt of before goes over to it, but for a fresh one."""
    bench = Bench(given=ALICE)
    author = bench.open()
    author.use(BOB, fresh=False)
    author.require_sure()
    author = bench.open(is_copy=True)
    author.use(BOB, fresh=False)
    assert author.is_unsure
    author.use(CAROL, fresh=True)
    author.require_sure()


def test_a_key_that_ours_admitted():
    """C09, C27: it has written nothing elsewhere, and begins at its admission; one that somebody else admitted may have."""
    for admitting, is_unsure in ((BOB, False), (ALICE, True)):
        bench = Bench(LISTED)
        bench.begin(first_values(given=BOB.key, issuer=""))
        bench.given = BOB
        bench.open().confirm()
        author = bench.open()
        admission = LISTED.admit(admitting, [CAROL])
        bench.store.commit(Commit(blocks=(admission,)))
        author.use(CAROL, fresh=False)
        assert (author.start, author.is_unsure) == (admission.id, is_unsure)
        bench.given = CAROL
        assert bench.open().is_unsure is is_unsure
    author = Bench(LISTED).open()  # a key of the node's own making is not kept beside one that is given
    author.use(author.signer, fresh=False)
    author.require_sure()


def in_doubt(bench: Bench) -> OwnAuthor:
    """A copy's author, of a chain of which three peers are known."""
    bench.known_peers = 3
    bench.open()
    author = bench.open(is_copy=True)
    assert author.is_unsure
    return author


def test_one_peer_does_not_lift_the_doubt():
    """C27: where more peers are known, one that echoes our digest, however often, proves nothing; two do."""
    bench = Bench(LISTED)
    author = in_doubt(bench)
    for equal in (True, False, True):
        author.tell(Synced("liar", equal=equal))
        assert author.is_unsure
        with pytest.raises(UnavailableError):
            author.require_sure()
    author.tell(Synced("another", equal=True))
    author.require_sure()
    assert not bench.open().is_unsure


def test_the_issuer_lifts_the_doubt():
    """C27: who let this node in is not just anybody."""
    bench = Bench(given=ALICE)
    bench.begin(first_values(given=ALICE.key, issuer="the inviter"))
    author = in_doubt(bench)
    author.tell(Synced("the inviter", equal=False))
    author.require_sure()


def test_one_peer_is_enough_when_no_other_answers():
    """C27: peers that are gone for ever lock nobody out."""
    bench = Bench(LISTED)
    author = in_doubt(bench)
    author.tell(Synced("peer", equal=True))
    bench.now_s += 599
    assert author.is_unsure
    bench.now_s += 1
    assert not author.is_unsure
    author.require_sure()
    assert not bench.open().is_unsure


class Moody(Reluctant):
    """Signs while it is told that it may."""

    def __init__(self, signer: Signer) -> None:
        self.key, self.may_sign, self._signer = signer.key, True, signer

    def require_ready(self) -> None:
        if not self.may_sign:
            raise NotAllowedError("not now")

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)


def test_a_reluctant_signer_is_asked_first():
    """C27: before any block is made, and each time anew."""
    moody = Moody(ALICE)
    author = Bench(given=moody).open()
    author.require_sure()
    moody.may_sign = False
    with pytest.raises(NotAllowedError):
        author.require_sure()
    moody.may_sign = True
    author.require_sure()
