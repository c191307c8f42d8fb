"""Reading again what was judged: the same acts, at less than half the price."""

from __future__ import annotations

import os

from identities import COMPOSITE, ED25519
from identities.acts import ADDED, ASKED, JOINED, REKEYED, REMOVED, RENEWED
from identities.holders import CouncilKeys, PublicKey
from identities.keyring import DeviceSecrets
from identities.payloads import PREFIX, act_of, decode, read_asking
from identities.state import judged_act, judged_name
from identities.suites import SigningKey
from tests.suites.identity_nodes import seat_of, town, until_seated
from walytis_core import block as blocks


def _council() -> CouncilKeys:
    keys = [SigningKey.from_seed(ED25519, bytes([n]) * 32) for n in (1, 2)]
    return CouncilKeys(1, tuple(PublicKey(key.suite, key.public) for key in keys))


def test_a_judged_act_is_the_act():
    """I29: for every kind that a living identity writes, with holders of every kind."""
    with town() as made:
        house = made.house("phone")
        alice, _ = house.identities.create("alice", suite=ED25519)
        bob, _ = house.identities.create("bob", suite=COMPOSITE)
        made.join(alice, "laptop")
        until_seated(alice, "laptop")
        alice.add(_council())
        alice.add(DeviceSecrets.fresh(os.urandom(32), ED25519).public)
        alice.add_identity(bob)
        alice.rekey()
        alice.remove([seat_of(alice, "laptop")])
        alice.create_chain("notes")
        raw = [blocks.decode(one.encoded, one.id) for one in alice.chain.blocks(type=PREFIX)]
        assert {ADDED, ASKED, JOINED, REKEYED, REMOVED, RENEWED} <= {one.type.removeprefix(PREFIX) for one in raw}
        for one in raw:
            assert judged_act(one) == act_of(one)
            if one.type == PREFIX + ASKED:
                assert judged_name(one) == read_asking(decode(one).body).name == "laptop"
