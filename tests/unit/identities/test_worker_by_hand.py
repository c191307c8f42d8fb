"""What a device does by itself, step by step on a hand-made chain: complaining, being heard, letting in, taking what is handed on."""

from __future__ import annotations

from typing import Any

import pytest

from identities import epochs
from identities.acts import ADDED, ASKED, UNOPENED
from identities.bundles import Handed, seal_bundle
from identities.epoch_keys import epoch_keys
from identities.keyring import DeviceSecrets
from identities.payloads import ASKING, Asking, decode, read_renewal, removed
from identities.renewal import WAIT_S
from identities.worker import PATIENCE_S
from identities.wraps import wrap, wrap_info
from tests.suites.identity_blocks import Page
from tests.suites.identity_desk import Desk
from tests.suites.identity_makers import some_device
from walytis_core.errors import NotAllowedError, Reason, RemoteError
from walytis_core.invitation_record import InvitationUse

NODE, OTHER_NODE = bytes([7]) * 32, bytes([8]) * 32
LONGEST_S = WAIT_S[1]


@pytest.fixture
def three() -> tuple[Desk, Desk, Desk]:
    """The founder, a phone and a tablet, who have all the keys."""
    founder = Desk.founder(Page())
    phone, tablet = founder.add(some_device(2, node_key=NODE)), founder.add(some_device(3, node_key=OTHER_NODE))
    for desk in (phone, tablet):
        desk.get_objects(founder)
        desk.run()
    return founder, phone, tablet


def renewed(by: Desk, *others: Desk) -> bytes:
    """A renewal, whose wraps these get."""
    id = bytes(by.actor.renew().id)
    for desk in others:
        desk.get_objects(by)
    return id


def wrap_of(epoch: bytes, desk: Desk) -> tuple[bytes, Any]:
    """The name of a device's wrap, and the renewal."""
    body = read_renewal(decode(desk.log.block(epoch)).body)
    return next(cid for seat, _, cid in body.wraps if seat == desk.seat), body


def cheat(epoch: bytes, desk: Desk, data: bytes | None = None) -> None:
    """Puts another secret, or other bytes, where a device's wrap was."""
    cid, body = wrap_of(epoch, desk)
    key = desk.keyring.seal_key(next(key for seat, key, _ in body.wraps if seat == desk.seat))
    assert key is not None
    info = wrap_info(desk.log.id, body.number, body.control.sign.id)
    desk.log.held[cid] = wrap(bytes([66]) * 32, key.public, info) if data is None else data


# --- wraps that do not open ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, b"", bytes(1200)], ids=["another secret", "nothing", "garbage"])
def test_a_wrap_that_does_not_open_is_said_once(three: tuple[Desk, Desk, Desk], data: bytes | None) -> None:
    """I38: and its keys are not taken; the others, whose wraps open, say nothing."""
    founder, phone, tablet = three
    epoch = renewed(founder, phone, tablet)
    cheat(epoch, phone, data)
    for _ in range(3):
        phone.run(100.0)
        tablet.run(0.0)
    assert phone.key(epoch) is None
    assert len(phone.said(UNOPENED)) == 1
    assert not tablet.said(UNOPENED)
    assert tablet.key(epoch) is not None


def test_a_wrap_that_nobody_serves(three: tuple[Desk, Desk, Desk]) -> None:
    """I38: is asked for at once, and said after a while in which somebody was there to serve it."""
    founder, phone, _ = three
    cid, _ = wrap_of(renewed(founder), phone)
    phone.run()
    assert phone.log.wanted.count(cid) >= 1
    phone.run(PATIENCE_S - 1)
    phone.is_online = False
    phone.run(PATIENCE_S)
    phone.is_online = True
    phone.run(PATIENCE_S - 1)
    assert not phone.said(UNOPENED)
    phone.run(2.0)
    assert len(phone.said(UNOPENED)) == 1


def test_old_epochs_are_nobodys_business(three: tuple[Desk, Desk, Desk]) -> None:
    """I38: a wrap of an epoch that is no more current does not make the others renew."""
    founder, phone, _ = three
    cheat(renewed(founder, phone), phone)
    renewed(founder, phone)
    phone.run(1000.0)
    assert not phone.said(UNOPENED)


def test_a_complaint_is_heard_by_the_others(three: tuple[Desk, Desk, Desk]) -> None:
    """I38: by those who did not make the epoch; whoever made it would do the same again."""
    founder, phone, tablet = three
    epoch = renewed(founder, phone, tablet)
    tablet.run()
    cheat(epoch, phone)
    phone.run()
    for _ in range(3):
        founder.run(2 * LONGEST_S)
    assert founder.epoch == epoch
    due = tablet.run()
    assert tablet.now_s < due <= tablet.now_s + LONGEST_S
    tablet.run(LONGEST_S)
    healed = tablet.epoch
    assert healed not in (None, epoch)
    phone.get_objects(tablet)
    phone.run()
    assert phone.key(healed or b"") is not None


def test_who_always_complains_is_not_heard(three: tuple[Desk, Desk, Desk]) -> None:
    """I38: after a few epochs in a row."""
    founder, phone, tablet = three
    heard = []
    for _ in range(6):
        epoch = renewed(founder, tablet)
        tablet.run()
        phone.actor.act(UNOPENED, epoch)
        situation = tablet.worker.situation()
        assert situation is not None
        heard.append(situation.complaint)
    assert heard == [True, True, True, False, False, False]


# --- renewals that fail ----------------------------------------------------------------------------------------------


def test_no_more_seats_than_a_renewal_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """I38: the first by rank share the epochs, and a junior who adds more than that stops nobody."""
    monkeypatch.setattr(epochs, "MAX_SEATS", 3)
    founder = Desk.founder(Page())
    phone = founder.add(some_device(2))
    for number in range(3, 7):
        phone.actor.act("added", some_device(number).public.wire)
    for _ in range(3):
        founder.run(2 * LONGEST_S)
    folded = founder.log.folded()
    assert len([seat for seat in folded.authority.live if seat.is_wrapped_to]) == 6
    assert folded.epochs.current is not None
    assert len(folded.epochs.current.wraps) == 3
    assert {founder.seat, phone.seat} <= folded.epochs.current.wraps.keys()
    assert len(folded.node_keys()) <= 3


def test_a_renewal_that_fails_leaves_nothing(three: tuple[Desk, Desk, Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: no keys, no wraps; and it is tried again less and less often, until something has come."""
    founder, phone, tablet = three
    tried: list[float] = []

    def refuse(*_: object) -> None:
        tried.append(founder.now_s)
        raise RemoteError(Reason.BAD_PAYLOAD)

    phone.actor.act("added", some_device(9).public.wire)
    kept = founder.keyring.epochs, founder.keyring.seals, dict(founder.log.held)
    monkeypatch.setattr(founder.log, "append", refuse)
    for _ in range(60):
        founder.run(5.0)
    assert (founder.keyring.epochs, founder.keyring.seals, founder.log.held) == kept
    assert 5 <= len(tried) <= 12
    tablet.actor.act("noted", [bytes(founder.log.id), b"x"])
    founder.run(1.0)
    assert tried[-1] == founder.now_s, "something has come"
    monkeypatch.undo()
    founder.run(60.0)
    assert founder.epoch is not None


def test_a_renewal_without_a_right_keeps_nothing(
    three: tuple[Desk, Desk, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10, I18: whoever was removed is told so before any key is made durable."""
    founder, phone, _ = three
    founder.actor.act("removed", removed([phone.seat], None))
    kept: list[object] = []
    monkeypatch.setattr(phone.keyring, "add_epochs", kept.append)
    monkeypatch.setattr(phone.log, "keep", kept.append)
    with pytest.raises(NotAllowedError):
        phone.actor.renew()
    assert not kept


# --- letting in ------------------------------------------------------------------------------------------------------


def ask(desk: Desk, device: DeviceSecrets) -> None:
    """A device asks for a seat."""
    bare = Asking(device.public, "", b"")
    proof = device.sign.sign(ASKING, bare.proven(desk.log.id))
    desk.log.page.state(device.block, ASKED, bare._replace(proof=proof).wire)


def devices(desk: Desk) -> set[bytes]:
    return {device.block_key for device in desk.log.folded().devices}


def use(*devices: DeviceSecrets, node_key: bytes = NODE) -> InvitationUse:
    """A use of an invitation by a node, with the keys of these devices."""
    return InvitationUse(node_key, frozenset(device.block.key for device in devices))


def test_one_seat_for_each_use_of_a_code() -> None:
    """I18: the node that used it, with one key; nobody whom this device did not invite."""
    founder = Desk.founder(Page())
    first, second, stranger = (
        some_device(2, node_key=NODE), some_device(3, node_key=NODE), some_device(4, node_key=OTHER_NODE),
    )  # fmt: skip
    for device in (first, second, stranger):
        ask(founder, device)
    founder.run()
    assert devices(founder) == {founder.device.block.key}
    founder.invited = [use(first, second)]
    for _ in range(3):
        founder.run(1.0)
    assert devices(founder) == {founder.device.block.key, second.block.key}  # the key that it asked with last
    founder.invited = [use(first, second), use(first)]
    founder.run(1.0)
    assert devices(founder) == {founder.device.block.key, first.block.key, second.block.key}


def test_a_code_lets_in_the_keys_that_were_proven_with_it() -> None:
    """I18, I20: not who asks with other keys in the name of the node that used it, and not who names another node."""
    founder = Desk.founder(Page())
    thief, moved, guest = (
        some_device(2, node_key=NODE),
        some_device(3, node_key=OTHER_NODE),
        some_device(4, node_key=NODE),
    )
    founder.invited = [use(guest), use(moved), use()]
    for device in (thief, moved):
        ask(founder, device)
    founder.run()
    assert devices(founder) == {founder.device.block.key}
    ask(founder, guest)
    founder.run()
    assert devices(founder) == {founder.device.block.key, guest.block.key}


def test_a_code_that_was_used_lets_nobody_back_in(three: tuple[Desk, Desk, Desk]) -> None:
    """I18, I20: not after a removal, with whatever keys it comes to the same code again."""
    founder, phone, _ = three
    again = some_device(9, node_key=NODE)
    founder.invited = [use(phone.device, again)]
    founder.actor.act("removed", removed([phone.seat], None))
    ask(founder, phone.device)
    ask(founder, again)
    founder.run()
    assert not {again.block.key, phone.device.block.key} & devices(founder)
    founder.invited = [use(phone.device), use(again)]
    founder.run()
    assert again.block.key in devices(founder)
    assert phone.device.block.key not in devices(founder)


def test_a_seat_that_was_undone_spent_its_code_all_the_same(three: tuple[Desk, Desk, Desk]) -> None:
    """I20: a low cut makes void that a device was let in by a code; it does not come back by itself."""
    founder, phone, _ = three
    puppet = some_device(9, node_key=OTHER_NODE)
    cut = sorted(founder.actor.heads(founder.log.folded()))
    phone.actor.act(ADDED, puppet.public.wire)
    ask(founder, puppet)
    founder.invited = [use(puppet, node_key=OTHER_NODE)]
    assert puppet.block.key in devices(founder)
    founder.actor.act("removed", removed([phone.seat], cut))
    assert puppet.block.key not in devices(founder)
    founder.run()
    assert puppet.block.key not in devices(founder)


# --- what is handed on -----------------------------------------------------------------------------------------------


def test_handed_keys_are_those_that_were_published(three: tuple[Desk, Desk, Desk]) -> None:
    """I19: of an epoch of this identity, and no others."""
    founder, phone, _ = three
    first = founder.log.folded().epochs.all[bytes(founder.log.id)]
    chain = bytes(founder.log.id)
    phone.worker.take_handed(Handed(chain, first.sign_id, epoch_keys(bytes([9]) * 32)))
    phone.worker.take_handed(Handed(chain, b"s" * 16, epoch_keys(bytes([9]) * 32)))
    assert not phone.keyring.has_epoch(first.sign_id)
    assert not phone.keyring.has_epoch(b"s" * 16)
    phone.worker.take_handed(Handed(chain, first.sign_id, founder.log.page.epoch))
    assert phone.keyring.has_epoch(first.sign_id)


def test_a_grant_is_for_one_seat(three: tuple[Desk, Desk, Desk]) -> None:
    """I19: the one that it names."""
    founder, phone, tablet = three
    first = founder.log.folded().epochs.all[bytes(founder.log.id)]
    handed = Handed(bytes(founder.log.id), first.sign_id, founder.log.page.epoch)
    public = phone.device.public.seal.public
    cid = founder.log.keep(seal_bundle(public, founder.log.id, [handed]))
    founder.actor.act("granted", [tablet.seat, bytes(cid)])
    for desk in (phone, tablet):
        desk.get_objects(founder)
        desk.run()
        assert not desk.keyring.has_epoch(first.sign_id)
    founder.actor.act("granted", [phone.seat, bytes(cid)])
    phone.run()
    assert phone.keyring.has_epoch(first.sign_id)


# --- a renewed key ---------------------------------------------------------------------------------------------------


def test_new_keys_of_a_device_are_taken_up_when_they_count(three: tuple[Desk, Desk, Desk]) -> None:
    """I11: not before: until then the old ones are the seat's."""
    _, phone, _ = three
    old, coming = phone.device, some_device(20, node_key=NODE)
    phone.keyring.next_device = coming
    phone.run()
    assert phone.log.writer == old.block.key
    phone.actor.act("rekeyed", coming.public.wire)
    phone.run()
    assert phone.log.writer == coming.block.key
    assert phone.keyring.next_device is None
    assert phone.actor.path() is not None
