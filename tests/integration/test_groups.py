"""Persons in groups, groups in groups, and the chains that they read: with real nodes, which do by themselves what is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from identities import checking
from identities.acts import ADDED, ANCHORED, CUT, NOTED, REMOVED, SeatId
from identities.identity import Identity
from identities.keyring import DeviceSecrets
from identities.payloads import EVENT, PREFIX, Event, encode
from identities.state import tag_of
from identities.suites import COMPOSITE, ED25519
from tests.suites import letters
from tests.suites.identity_makers import Forger, inject, is_void, raw, some_device
from tests.suites.identity_nodes import (
    Town,
    assert_is_fold,
    assert_same_state,
    conclusions,
    epoch_of,
    seat_of,
    town,
    until_agreed,
    until_seated,
)
from tests.suites.nodes import payloads, until
from walytis_core import (
    BlockId,
    Chain,
    Libp2pNetwork,
    NotAllowedError,
    Obeyed,
    RemoteError,
    UnavailableError,
    Void,
    Wait,
)
from walytis_core.block import decode as decode_block
from walytis_core.policy import ADMIT


class Street:
    """Alice with a laptop and a phone, Bob with a desk and a watch; the family of both; and what is made of that.

    Args:
        town: Where they live.
        suite: Of all their keys.
    """

    def __init__(self, town: Town, suite: int = ED25519) -> None:
        self.town = town
        self.suite = suite
        self.alice = town.house("laptop").identities.create("alice", suite=suite)[0]
        self.bob = town.house("desk").identities.create("bob", suite=suite)[0]
        self.join(self.alice, "phone")
        self.join(self.bob, "watch")
        self.family = town.house("laptop").identities.create("family", controller=self.alice, suite=suite)[0]
        self.take_in(self.family, self.bob, "laptop", "desk")

    def join(self, identity: Identity, name: str) -> Identity:
        joined = self.town.join(identity, name)
        until_seated(identity, name)
        return joined

    def take_in(self, group: Identity, member: Identity, ours: str, theirs: str) -> Identity:
        """A member of the group adds another identity, whose device then acts in it."""
        group.add_identity(self.town.outsider(member, ours, self.town.house(theirs)))
        self.town.outsider(group, theirs, self.town.house(ours))
        return self.town.house(theirs).identities.enter(group.did, member)

    def at(self, name: str, group: Identity) -> Identity:
        """A group as a device has it: with the keys of its current epoch."""
        identities = self.town.house(name).identities
        until(lambda: any(one.did == group.did for one in identities.all()), what=f"{name} has {group.name}")
        found = identities.get(group.did)
        until(lambda: found.status().has_keys and epoch_of(found) == epoch_of(group), what=f"{name} has its keys")
        return found

    def all(self, group: Identity) -> list[Identity]:
        return [self.at(name, group) for name in self.town.houses]

    def clubs(self) -> Identity:
        """A group of groups, which the family founds."""
        return self.town.house("laptop").identities.create("clubs", controller=self.family, suite=self.suite)[0]


@pytest.fixture
def street() -> Iterator[Street]:
    with town() as made:
        yield Street(made)


def until_told(group: Identity, text: bytes) -> None:
    until(lambda: ("app", text) in group.notes(), what=f"{text!r} is read in {group.name}")


def say(group: Identity, text: bytes) -> None:
    """A note, as soon as the device may write."""

    def said() -> bool:
        try:
            group.note("app", text)
        except (NotAllowedError, UnavailableError):
            return False
        return True

    until(said, what=f"{text!r} is said in {group.name}")


def until_in_turn(street: Street, name: str, holds: Callable[[], object]) -> None:
    """Waits for what a device does when its turn has come, by its own clock, which goes fast."""
    passed = threading.Event()

    def tick() -> bool:
        if not holds():
            street.town.house(name).jump(1)
            passed.wait(0.02)
        return bool(holds())

    until(tick, what="its turn")


def acts_of(identity: Identity, kind: str) -> list[bytes]:
    return [act.id for act in identity.folded.authority.counted(kind)]


# --- three levels ----------------------------------------------------------------------------------------------------------


def nesting(street: Street) -> None:
    clubs = street.clubs()
    for group in (street.family, clubs):
        everyone = street.all(group)
        assert len(everyone) == 4
        for one in everyone:
            say(one, one.chain.author)
        for one in everyone:
            for other in everyone:
                until_told(one, other.chain.author)
        sealed = group.seal(b"to all")
        assert [one.open(sealed) for one in everyone] == [b"to all"] * 4
        current = group.epoch
        assert len(current.wraps) == (2 if group is street.family else 1), "one wrap for each identity"
        until_agreed(*everyone)
        assert_same_state(*everyone)
        for one in everyone:
            assert not one.folded.authority.void
            assert_is_fold(one)
    before = epoch_of(street.family), epoch_of(clubs)
    for _ in range(3):
        street.bob.renew()
        say(street.at("desk", clubs), b"another word")
    until(lambda: street.bob.folded.epochs.newest.id in street.family.folded.nested(street.bob.chain.id).pasts.place)  # type: ignore[union-attr]
    assert (epoch_of(street.family), epoch_of(clubs)) == before, "ordinary renewals below"
    gone, watch = [street.at("watch", group) for group in (street.family, clubs)], seat_of(street.bob, "watch")
    street.bob.remove([watch])
    until(lambda: all(epoch_of(group) not in (None, *before) for group in (street.family, clubs)), what="both renew")
    for group, old in zip((street.family, clubs), gone, strict=True):
        for name in ("laptop", "phone", "desk"):
            street.at(name, group)
        until(lambda old=old, group=group: set(old.chain.heads) == set(group.chain.heads))  # type: ignore[misc]
        with pytest.raises(RemoteError):
            old.open(group.seal(b"without the watch"))
        with pytest.raises((NotAllowedError, UnavailableError)):
            old.note("app", b"still here")
        assert street.town.house("watch").node.key not in group._held.node_keys()


@pytest.mark.slow
def test_three_levels(street: Street) -> None:
    """I21, I35: device, person, group, group of groups: all write and read; one removed below is out of all, by itself."""
    nesting(street)


@pytest.mark.slow
def test_three_levels_with_hybrid_keys() -> None:
    """I21, I35: the same with hybrid keys, whose first blocks are long."""
    with town() as made:
        nesting(Street(made, COMPOSITE))


@pytest.mark.slow
@pytest.mark.libp2p
def test_three_levels_over_libp2p() -> None:
    """I21, I35: the same over libp2p."""
    with town(network=Libp2pNetwork) as made:
        nesting(Street(made))


@pytest.mark.slow
def test_who_was_off(tmp_path: Path) -> None:
    """I21, I22: a device that was off when a group of groups was made, and one that joins later, get and write all of it."""
    with town(tmp_path) as made:
        street = Street(made)
        street.at("watch", street.family)
        made.house("watch").close()
        clubs = street.clubs()
        say(street.at("desk", clubs), b"made while it was off")
        made.house("watch").open()
        watch = street.at("watch", clubs)
        until_told(watch, b"made while it was off")
        say(watch, b"back again")
        until_told(clubs, b"back again")
        street.join(street.bob, "tablet")
        tablet = street.at("tablet", clubs)
        say(tablet, b"new here")
        until_told(clubs, b"new here")
        say(street.at("tablet", street.family), b"here too")
        until_told(street.family, b"here too")


@pytest.mark.slow
def test_another_device_lets_the_new_one_in(tmp_path: Path) -> None:
    """I09, I22: whoever added a device is off at once: when its turn comes, another hands on the groups and anchors there."""
    with town(tmp_path) as made:
        street = Street(made)
        street.at("watch", street.family)
        group = street.at("desk", street.family)
        tablet = made.house("tablet")
        secrets = some_device(7, node_key=tablet.node.key)
        made.house("watch").identities.get(street.bob.did).add(
            secrets.public
        )  # it does not know the one behind the keys
        made.house("watch").close()
        until(lambda: secrets.block.key in {one.block_key for one in street.bob.folded.devices})
        until_in_turn(street, "desk", lambda: secrets.block.key in {one.block_key for one in group.folded.devices})
        assert group._held.log.is_writer(secrets.block.key)


# --- cuts ------------------------------------------------------------------------------------------------------------------


class Thief:
    """Who has the keys of a device, and what it knew of a group at one moment; it writes as if nothing had happened since.

    Args:
        own: The group, as that device has it.
        at: Somebody else's copy of the group, which takes what it writes.
    """

    def __init__(self, own: Identity, at: Identity) -> None:
        self.actor = own._held.actor
        self.folded = own.folded
        path = own._held.actor.path()
        secrets = own._held.actor.secrets
        assert path is not None
        assert secrets is not None
        self.path = path
        self.heads = own._held.actor.heads(self.folded)
        self.sign = secrets.sign
        self.forger = Forger(at.chain, secrets)
        self.group = at

    def note(
        self, on: Sequence[bytes] = (), path: tuple[SeatId, ...] | None = None, anchors: Sequence[bytes] = ()
    ) -> bytes:
        """A note behind its seat, on what it knew, with the anchors that it knew, unless others are said."""
        path = path or self.path
        shown = [*anchors] or self.actor.anchors_for(self.folded, path)
        seen = sorted({*self.heads, *on, *self.forger.last_events()})
        event = Event(NOTED, path, tuple(seen), [bytes(self.group.chain.id), b"late"])
        event = event._replace(proofs=([shown, self.sign.sign(EVENT, event.signed(self.group.chain.id))],))
        return bytes(self.forger.put(self.forger.block(PREFIX + NOTED, encode(event), seen)).id)

    def anchor(self, heads: Sequence[bytes], on: Sequence[bytes] = (), base: bytes | None = None) -> bytes:
        """An anchor for the first seat of its path."""
        named = {*self.heads, *on, *([base] if base else [])}
        return self.forger.state(ANCHORED, [self.path[0], sorted(map(bytes, heads)), base], named)


def knows(group: Identity, person: Identity, id: bytes) -> bool:
    """Whether a group knows of an act of a person who is a member, near or far."""
    found = [group.folded]
    while found:
        here = found.pop()
        if here.chain == person.chain.id and id in here.pasts.place:
            return True
        found += [one for one in map(here.nested, here.nested_chains) if one is not None]
    return False


@pytest.mark.slow
def test_a_removed_device_writes_on(street: Street) -> None:
    """I34: with old parents and old anchors, and on new ones: none of it counts, at any depth, and no honest block is lost."""
    clubs = street.clubs()
    groups = (street.family, clubs)
    for group in groups:
        say(street.at("watch", group), b"while it may")
        until_told(group, b"while it may")
    thieves = [Thief(street.at("watch", group), group) for group in groups]
    street.town.house("watch").close()
    street.bob.remove([seat_of(street.bob, "watch")])
    (removal,) = street.bob.folded.authority.counted(REMOVED)
    assert set(removal.body.elsewhere) == {group.folded.genesis.tag for group in groups}
    until(lambda: all(knows(group, street.bob, removal.id) for group in groups), what="the removal is anchored")
    for group, thief in zip(groups, thieves, strict=True):
        late = thief.note()
        assert is_void(group, late)
        assert is_void(group, thief.note([late]))
        assert is_void(group, thief.note([act.id for act in group.folded.pasts.acts][-1:]))
        say(street.at("phone", group), b"honest")
        until_told(group, b"honest")
        assert ("app", b"while it may") in group.notes()
        others = [street.at(name, group) for name in ("phone", "desk")]
        until_agreed(group, *others)
        assert_same_state(group, *others)
        assert_is_fold(group)


@pytest.mark.slow
def test_a_puppet_by_a_fork(street: Street) -> None:
    """I34: a removed device adds a puppet on an old view of its chain, and anchors that: the puppet has no right."""
    watch = street.at("watch", street.family)
    say(watch, b"while it may")
    until_told(street.family, b"while it may")
    thief, puppet = Thief(watch, street.family), some_device(11)
    thieves_bob = street.town.house("watch").identities.get(street.bob.did)
    old = [act.id for act in thieves_bob.folded.pasts.acts]
    street.town.house("watch").close()
    at_laptop = street.town.house("laptop").identities.known(street.bob.did)
    street.bob.remove([seat_of(street.bob, "watch")])
    (removal,) = street.bob.folded.authority.counted(REMOVED)
    until(lambda: knows(street.family, street.bob, removal.id))
    forger = Forger(at_laptop.chain, thief.forger.device)
    forger.admit(puppet.block.key)
    added = forger.say(ADDED, puppet.public.wire, seat_of(at_laptop, "watch"), old[-1:])
    assert is_void(at_laptop, added)
    lie = thief.anchor([added])
    assert isinstance(street.family.chain.standing(BlockId(lie)), Obeyed), "a fact"
    thief.forger.admit(puppet.block.key)
    thief.sign, thief.forger, thief.heads = puppet.sign, Forger(street.family.chain, puppet), (lie,)
    late = thief.note(path=(thief.path[0], added), anchors=[lie])
    assert is_void(street.family, late)
    assert puppet.node_key not in street.family._held.node_keys()
    phone = street.at("phone", street.family)
    say(phone, b"honest")
    until_agreed(street.family, phone)
    until(lambda: conclusions(phone) == conclusions(street.family), what="the same conclusions")


def cut_tags(person: Identity) -> set[bytes]:
    return {tag for act in person.folded.authority.counted(CUT) for tag in act.body.elsewhere}


@pytest.mark.slow
def test_cuts_that_are_given_later(street: Street) -> None:
    """I34: for chains that came after a removal, and for a removal by the recovery code, devices that know of them give cuts."""
    street.at("watch", street.family)
    street.bob.remove([seat_of(street.bob, "watch")])
    clubs = street.clubs()
    chain = street.family.create_chain("ours")
    wanted = {clubs.folded.genesis.tag, tag_of(decode_block(chain.genesis))}
    street.at("desk", clubs)
    until_in_turn(street, "desk", lambda: cut_tags(street.bob) == wanted)
    assert cut_tags(street.bob) == wanted
    count = len(acts_of(street.bob, CUT))
    for _ in range(3):
        street.town.house("desk").jump(60)
    assert len(acts_of(street.bob, CUT)) == count, "once"
    assert not street.bob.folded.authority.void


# --- cycles ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cycle_that_is_made_on_two_chains_at_once(street: Street) -> None:
    """I21: two groups take each other in, neither knowing of the other's: all comes to rest, and everybody has the keys."""
    laptop, desk = street.town.house("laptop"), street.town.house("desk")
    one = laptop.identities.create("one", controller=street.alice, suite=ED25519)[0]
    two = desk.identities.create("two", controller=street.bob, suite=ED25519)[0]
    two_here = street.town.outsider(two, "laptop", desk)
    one_there = street.town.outsider(one, "desk", laptop)
    one.add_identity(two_here)
    two.add_identity(one_there)
    street.town.house("desk").identities.enter(one.did, two)
    street.town.house("laptop").identities.enter(two.did, one)
    one_at_desk, two_at_laptop = street.at("desk", one), street.at("laptop", two)
    say(one_at_desk, b"from two")
    say(two_at_laptop, b"from one")
    until_told(one, b"from two")
    until_told(two, b"from one")
    for house in (laptop, desk):
        house.jump(60)
    until_agreed(one, one_at_desk)
    until_agreed(two, two_at_laptop)
    counts = [len(group.folded.pasts.acts) for group in (one, two)]
    for _ in range(5):
        for house in (laptop, desk):
            house.jump(60)
        until_agreed(one, one_at_desk)
        until_agreed(two, two_at_laptop)
    assert [len(group.folded.pasts.acts) for group in (one, two)] == counts, "it comes to rest"
    for group in (one, two):
        assert group._held.node_keys() == street.alice._held.node_keys() | street.bob._held.node_keys()
        assert not group.folded.authority.void
    assert_same_state(one, one_at_desk)
    assert_same_state(two, two_at_laptop)


# --- anchors ---------------------------------------------------------------------------------------------------------------


def test_an_anchor_that_names_what_does_not_exist(street: Street) -> None:
    """I34: it waits alone, whatever is built on it, costs nothing, and keeps nobody from anything."""
    thief = Thief(street.at("desk", street.family), street.family)
    nowhere = BlockId.of(b"nowhere")
    lost = thief.anchor([nowhere])
    standing = street.family.chain.standing(BlockId(lost))
    assert isinstance(standing, Wait)
    assert standing.heads == (nowhere,)
    street.town.house("desk").close()
    say(street.family, b"goes on")
    phone = street.at("phone", street.family)
    until_told(phone, b"goes on")
    until_agreed(street.family, phone)
    assert_same_state(street.family, phone)
    assert isinstance(phone.chain.standing(BlockId(lost)), Wait)
    assert lost not in street.family.folded.pasts.place


@pytest.mark.slow
def test_an_anchor_that_adds_too_much(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """I34: above its limits it is void, on every node; honest devices anchor a long history in portions."""
    monkeypatch.setattr(checking, "MAX_ANCHORED_BLOCKS", 40)
    carol = street.town.house("couch").identities.create("carol", suite=ED25519)[0]
    for number in range(60):
        carol.note("app", b"%d" % number)
    carol.renew()
    desk = street.town.house("desk").identities.get(street.family.did)
    group = street.take_in(desk, carol, "desk", "couch")
    until(lambda: group.status().has_keys, what="carol has the keys")
    (seat,) = [id for id, chain in desk.folded.live_nested.items() if chain == carol.chain.id]
    anchors = [act for act in desk.folded.pasts.acts if act.kind == ANCHORED and act.body.seat == seat]
    assert len(anchors) > 1
    forger = Forger(desk.chain, made_device(street, "desk"))
    heads = sorted(act.id for act in carol.folded.pasts.acts)[:1]
    last = [carol.folded.pasts.acts[-1].id]
    assert heads
    huge = forger.state(ANCHORED, [seat, last, None], [desk.folded.pasts.acts[-1].id])
    assert isinstance(desk.chain.standing(BlockId(huge)), Void)
    couch = group
    until(lambda: BlockId(huge) in couch.chain)
    assert couch.chain.standing(BlockId(huge)) == desk.chain.standing(BlockId(huge))


def made_device(street: Street, name: str) -> DeviceSecrets:
    secrets = street.town.house(name).identities.all()[0]._held.actor.secrets
    assert secrets is not None
    return secrets


# --- data chains -----------------------------------------------------------------------------------------------------------


def letters_of(chain: Chain) -> list[bytes]:
    counted: list[BlockId] = chain.use(letters.LETTERS).value
    return sorted(chain.block(id).payload for id in counted)


def chain_at(identity: Identity, chain: Chain) -> Chain:
    until(lambda: any(one.id == chain.id for one in identity.chains()), what="the chain is there")
    return next(one for one in identity.chains() if one.id == chain.id)


@pytest.mark.slow
def test_a_chain_of_a_group(street: Street) -> None:
    """I20, I34: all devices get it by themselves and write; who was removed reads no more, and writes in vain; strangers get nothing."""
    chain = street.family.create_chain("ours")
    chain.use(letters.LETTERS)
    heads = street.family.chain.heads
    letters.anchor(chain, [act.id for act in street.family.folded.pasts.acts][-1:])
    letters.say(chain, b"laptop")
    assert heads
    copies = {name: chain_at(street.at(name, street.family), chain) for name in ("phone", "desk", "watch")}
    for name, copy in copies.items():
        copy.use(letters.LETTERS)
        until(lambda copy=copy: len(list(copy.blocks(type=letters.PREFIX))) >= 2)  # type: ignore[misc]
        assert copy.author == made_device(street, name).block.key
        write(copy, name.encode())
    for copy in (chain, *copies.values()):
        until(lambda copy=copy: letters_of(copy) == [b"desk", b"laptop", b"phone", b"watch"])  # type: ignore[misc]
    stranger = street.town.house("stranger")
    theirs = stranger.node.adopt(chain.genesis, name="ours", addresses=street.town.house("laptop").node.addresses())
    theirs.append(b"let me in")
    street.bob.remove([seat_of(street.bob, "watch")])
    until(lambda: not copies["watch"].peers(), what="nobody speaks with the one that was removed")
    letters.say(chain, b"after")
    until(lambda: b"after" in letters_of(copies["desk"]))
    assert b"after" not in payloads(copies["watch"])
    assert not theirs.peers()
    assert len(theirs) == 1
    family = street.town.house("watch").identities.get(street.family.did)
    until(lambda: family.seat is None, what="it has heard of that")
    with pytest.raises(NotAllowedError):
        letters.say(copies["watch"], b"late")
    copies["watch"].write_with(made_device(street, "watch").block)  # who stole it need not ask
    late = letters.say(copies["watch"], b"late")
    (removal,) = street.bob.folded.authority.counted(REMOVED)
    until(lambda: knows(street.family, street.bob, removal.id))
    last = [act.id for act in street.family.folded.pasts.acts if act.id not in street.family.folded.authority.void][-1:]
    letters.anchor(chain, last)
    inject(chain, raw(copies["watch"].block(late)))
    until(lambda: b"after" in letters_of(chain))
    assert letters_of(chain) == [b"after", b"desk", b"laptop", b"phone", b"watch"]
    assert isinstance(chain.standing(late), Void)


def write(chain: Chain, text: bytes) -> None:
    """A letter, as soon as a sync has shown that the device's key has written nothing more."""

    def written() -> bool:
        try:
            letters.say(chain, text)
        except UnavailableError:
            return False
        return True

    until(written, what="a letter is written")


def test_a_note_takes_over_no_chain() -> None:
    """I34: whoever stole one device tells the others of chains, and these go on writing theirs as they did."""
    with town() as made:
        house = made.house("laptop")
        alice = house.identities.create("alice", suite=ED25519)[0]
        phone = made.join(alice, "phone")
        until_agreed(alice, phone)
        diary = house.node.create_chain("diary", readers="everyone")
        before = diary.author
        mallory = made.house("desk").identities.create("mallory", suite=ED25519)[0]
        contact = made.outsider(mallory, "laptop", made.house("desk"))
        for genesis in (diary.genesis, contact.chain.genesis):
            phone.note("group", genesis)
        group = house.identities.create("group", controller=alice, suite=ED25519)[0]  # told after them
        until(lambda: len(alice.notes()) == 4, what="notes, with the name of the group")
        until(lambda: any(one.did == group.did for one in made.house("phone").identities.all()), what="the true one")
        alice.ready().result(30)
        assert diary.author == before
        diary.append(b"mine")
        assert contact.chain.author not in alice.folded.keys
        assert [one.name for one in house.identities.all()] == ["alice", "group"]


def test_a_member_with_many_devices() -> None:
    """I34: all of them are let in at once, and whoever adds them goes on."""
    with town() as made:
        house, desk = made.house("laptop"), made.house("desk")
        alice, bob = house.identities.create("alice", suite=ED25519)[0], desk.identities.create("bob", suite=ED25519)[0]
        with desk.identities._home.lock:
            for number in range(checking._MAX_BETWEEN + 2):
                bob._held.actor.act(ADDED, some_device(1000 + number).public.wire)
        bob.ready().result(30)
        known = made.outsider(bob, "laptop", desk)
        until(lambda: len(known.folded.devices) > checking._MAX_BETWEEN, what="devices")
        group = house.identities.create("group", controller=alice, suite=ED25519)[0]
        group.ready().result(30)
        admissions = sum(1 for _ in group.chain.blocks(type=ADMIT))
        group.add_identity(known)
        assert sum(1 for _ in group.chain.blocks(type=ADMIT)) == admissions + 1
        group.note("app", b"goes on")
