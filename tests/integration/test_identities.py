"""Identities as people live with them: devices on disk, over libp2p and in processes, for a long time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from identities.identities import Identities
from identities.identity import Identity
from identities.notes import CONTACT
from identities.recovery import RecoveryCode
from identities.suites import COMPOSITE, ED25519
from tests.suites.identity_makers import Forger, some_device
from tests.suites.identity_nodes import (
    Town,
    all_have_keys,
    assert_is_fold,
    assert_same_state,
    epoch_of,
    seat_of,
    state_of,
    town,
    until_agreed,
    until_seated,
)
from tests.suites.nodes import WITHIN_S, assert_sound, until
from tests.suites.secret_scan import in_clear, only_sealed
from walytis_core import Libp2pNetwork, Node, RemoteError
from walytis_core.network import MemoryHub, MemoryNetwork

NOTE, MESSAGE = b"bob, whom nobody is to know", b"the first message, which is secret"
ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ["memory", pytest.param("libp2p", marks=[pytest.mark.libp2p, pytest.mark.slow])]


@pytest.fixture(params=NETWORKS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    """Devices whose things are on disk, sealed, and which reach each other."""
    options = {"network": Libp2pNetwork} if request.param == "libp2p" else {}
    with town(tmp_path, sealed=True, **options) as made:
        yield made


def secrets_of(*devices: Identity) -> set[bytes]:
    """Every secret that a device has of an identity."""
    found: set[bytes] = set()
    for one in devices:
        keyring = one._held.actor.keyring
        for device in (keyring.device, keyring.next_device):
            if device is not None:
                found |= {device.block_seed, device.sign_seed, device.seal_seed}
        for keys in keyring.epochs.values():
            found |= set(keys)
        found |= set(keyring._seals.values())
    return found


@pytest.mark.slow
def test_a_life(here: Town, tmp_path: Path) -> None:
    """I06, I10, I16, I17, I19, I20, I22, I27 and I29: a laptop and a phone, a group, a stolen tablet, a new suite, restarts."""
    with only_sealed(tmp_path) as secrets:
        laptop = here.house("laptop")
        alice, code = laptop.identities.create("alice")
        secrets |= {code.secret, str(code).encode(), str(code).replace("-", "").encode(), NOTE, MESSAGE}
        phone, tablet, club = a_first_year(here, alice)
        bob = here.outsider(alice, "bob", laptop)
        sealed = [alice.seal(MESSAGE)]
        here.house("tablet").close()
        phone.rekey()
        alice.renew(suite=ED25519)
        until_agreed(alice, phone)
        secrets |= secrets_of(alice, phone, tablet, club)
        alice.remove([seat_of(alice, "tablet")])
        sealed.append(alice.seal(b"x"))
        secrets |= secrets_of(a_thief(here, alice, sealed))
        laptop.close()
        phone.renew()
        laptop.open()
        alice = laptop.get("alice")
        until_agreed(alice, phone)
        assert [phone.open(one) for one in sealed] == [alice.open(one) for one in sealed] == [MESSAGE, b"x"]
        alice.renew(suite=COMPOSITE)
        until_agreed(alice, phone)
        until(lambda: epoch_of(bob) == epoch_of(alice))
        assert bob.verify(b"x", phone.sign(b"x")).is_current
        assert_same_state(alice, phone, bob)
        for one in (alice, phone, bob):
            assert_is_fold(one)
            assert_sound(one.chain)
        assert (CONTACT, NOTE) in phone.notes()
        secrets |= secrets_of(alice, phone)


def a_first_year(here: Town, alice: Identity) -> tuple[Identity, Identity, Identity]:
    """A phone and a tablet join, a group and a contact are made: the phone has them all."""
    phone = here.join(alice, "phone")
    tablet = here.join(phone, "tablet")
    until_seated(alice, "tablet")
    until_agreed(alice, phone, tablet)
    club, _ = here.house("laptop").identities.create("club", controller=alice)
    alice.note(CONTACT, NOTE)
    until(lambda: groups(here, "phone"))
    until_agreed(alice, phone, tablet)
    return phone, tablet, club


def a_thief(here: Town, alice: Identity, sealed: list[bytes]) -> Identity:
    """Whoever has the tablet, which was removed while it was off: the old message opens, the new one does not."""
    here.house("tablet").open()
    stolen = here.house("tablet").get(alice.did)
    until(lambda: state_of(stolen, "tablet") == "removed")
    assert stolen.open(sealed[0]) == MESSAGE
    with pytest.raises(RemoteError):
        stolen.open(sealed[1])
    return stolen


def groups(town: Town, name: str) -> bool:
    """Whether a device acts in a group and has its keys."""
    others = [one for one in town.house(name).identities.all() if one.name != "alice"]
    return bool(others) and all_have_keys(*others)


def test_a_code_that_is_out(here: Town, tmp_path: Path) -> None:
    """I18 and I27: an invitation that is open lets somebody in: it is not in the clear on disk."""
    alice, _ = here.house("laptop").identities.create("alice", suite=ED25519)
    invitation = alice.invite()
    assert invitation.seed is not None
    assert in_clear(tmp_path, [invitation.seed]) == []


@pytest.mark.slow
@pytest.mark.parametrize("renewals", [1, 10])
def test_ten_renewals_later(tmp_path: Path, renewals: int) -> None:
    """I10: over libp2p: a phone is off for ten renewals and its peers' key renewals; any one of them brings it back."""
    with town(tmp_path, network=Libp2pNetwork) as here:
        alice, _ = here.house("laptop").identities.create("alice")
        phone, tablet = here.join(alice, "phone"), here.join(alice, "tablet")
        until_seated(alice, "tablet")
        until_agreed(alice, phone, tablet)
        here.house("phone").close()
        sealed = []
        for number in range(renewals):
            (alice, tablet)[number % 2].renew()
            sealed.append(alice.seal(b"%d" % number) if number % 2 == 0 else tablet.seal(b"%d" % number))
            (alice, tablet)[number % 2].rekey()
            until_agreed(alice, tablet)
        until(lambda: here.house("tablet").get("alice").status().has_keys)
        here.house("laptop").close()
        here.house("phone").open()
        here.house("phone").node.connect(here.house("tablet").node.addresses()).result(WITHIN_S)
        phone = here.house("phone").get("alice")
        until_agreed(phone, tablet)

        def opened() -> bool:
            try:
                return [phone.open(one) for one in sealed] == [b"%d" % number for number in range(renewals)]
            except RemoteError:
                return False

        until(opened)
        assert phone.verify(b"x", tablet.sign(b"x")).is_current


@pytest.mark.libp2p
@pytest.mark.slow
def test_a_join_is_quick(tmp_path: Path) -> None:
    """I17: over libp2p on one machine: the keys are there within 5 s."""
    with town(tmp_path, network=Libp2pNetwork) as here:
        alice, _ = here.house("laptop").identities.create("alice")
        phone = here.house("phone")
        joined = phone.identities.join(str(alice.invite()), device_name="phone").result(5.0)
        assert joined.status().has_keys
        until_seated(alice, "phone")


# --- crashes ---------------------------------------------------------------------------------------------------------

CHILD = """
import sys, pathlib
from walytis_core import Node, MemoryHub, MemoryNetwork
from identities.identities import Identities
from identities.suites import ED25519
from tests.suites.identity_makers import some_device
with Node.open(sys.argv[1], network=MemoryNetwork(MemoryHub())) as node, Identities(node) as all:
    if not all.all():
        made, code = all.create("alice", suite=ED25519)
    alice = all.get("alice")
    count = 0
    while True:
        count += 1
        sealed = alice.ready().result(30) and alice.seal(b"kept")
        sys.stdout.write(sealed.hex() + "\\n"); sys.stdout.flush()
        alice.rekey() if count % 3 == 0 else alice.renew()
        if count % 4 == 0:
            device = some_device(count).public
            alice.add(device)
            alice.remove([alice.seats()[-1].id])
"""


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_instant(tmp_path: Path, seed: int) -> None:
    """I27, I10 and I16: a device that is killed while it renews keys comes back with its seat, its keys, and all it could open."""
    chance = random.Random(seed)
    sealed: list[bytes] = []
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "node")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert child.stdout is not None
        first = child.stdout.readline()
        timer = threading.Timer(chance.uniform(0.0, 0.25), child.send_signal, [signal.SIGKILL])
        timer.start()
        rest = child.stdout.read()
        child.wait(WITHIN_S)
        timer.join()
        child.stdout.close()
        lines = (first + rest).split(b"\n")[:-1]
        assert lines
        sealed += [bytes.fromhex(line.decode()) for line in lines]
    network = MemoryNetwork(MemoryHub())
    with Node.open(tmp_path / "node", network=network) as node, Identities(node) as all:
        alice = all.get("alice")
        alice.ready().result(WITHIN_S)
        assert {alice.open(one) for one in sealed} == {b"kept"}
        until(lambda: alice.status().is_seated and alice.status().has_keys)
        number = alice.epoch.number
        assert alice.renew().number == number + 1
        assert_is_fold(alice)
        assert_sound(alice.chain)


# --- recovery --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.libp2p
def test_recovery_on_another_machine(tmp_path: Path) -> None:
    """I32: a stolen laptop, over libp2p: a new machine takes over by the code; the thief's later words count for nothing."""
    with town(tmp_path, network=Libp2pNetwork) as here:
        laptop = here.house("laptop")
        alice, code = laptop.identities.create("alice", suite=ED25519)
        phone = here.join(alice, "phone")
        until_seated(alice, "phone")
        until_agreed(alice, phone)
        thief = Forger.of(alice, phone.chain)
        laptop.close()
        here.outsider(phone, "desk", here.house("phone"))
        desk = here.house("desk")
        until(desk.identities.known(alice.did).chain.peers)
        again, following = desk.identities.recover(RecoveryCode.parse(str(code)), alice.did, remove=[1])
        assert following != code
        until_agreed(again, phone)
        late = thief.say("added", some_device(3).public.wire, 1)
        assert late in phone.folded.authority.void
        until(lambda: late in again.folded.authority.void)
        assert phone.open(again.seal(b"x")) == b"x"
        assert 1 not in {seat.id for seat in again.folded.authority.live}
