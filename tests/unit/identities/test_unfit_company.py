"""What another member named and cannot be held here: it keeps a device from none of its duties."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from identities.acts import ADDED, OPENED
from identities.bundles import Told
from identities.groups import Groups
from identities.holders import IdentityHolder
from identities.identity import Identity
from identities.suites import ED25519
from identities.telling import Telling
from tests.suites.identity_nodes import Town, seat_of, town, until_agreed
from tests.suites.nodes import until
from walytis_core import Chain, InvalidInputError, Signer, StorageError


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


def founded(here: Town) -> tuple[Identity, Identity]:
    """Alice at her laptop, and the phone that joined."""
    alice = here.house("laptop").identities.create("alice", suite=ED25519)[0]
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    return alice, phone


def hidden(here: Town) -> bytes:
    """The first block of an identity whose readers hold a secret."""
    made = here.house("elsewhere").identities.create("hidden", suite=ED25519, is_public=False)[0]
    return made.chain.genesis


def add(here: Town, phone: Identity, alice: Identity) -> None:
    with here.house("phone").identities._home.lock:
        phone._held.actor.act(ADDED, IdentityHolder(hidden(here)).wire)


def open_garbage(here: Town, phone: Identity, alice: Identity) -> None:
    genesis = bytearray(here.house("elsewhere").node.create_chain("x", readers=alice.did).genesis)
    genesis[-1] ^= 1
    with here.house("phone").identities._home.lock:
        phone._held.actor.act(OPENED, bytes(genesis))


def tell(here: Town, phone: Identity, alice: Identity) -> None:
    phone.note("group", hidden(here))


def hand(here: Town, phone: Identity, alice: Identity) -> None:
    phone._held.hand(1, [Told("group", hidden(here))])


@pytest.mark.parametrize("name", [add, open_garbage, tell, hand], ids=lambda each: each.__name__)
def test_what_cannot_be_held(here: Town, name: Callable[[Town, Identity, Identity], None]) -> None:
    """I20, I22: chains come and groups are told of after it, and nothing fails, for ever or once."""
    alice, phone = founded(here)
    name(here, phone, alice)
    until_agreed(alice, phone)
    phone.create_chain("data")
    laptop = here.house("laptop")
    until(lambda: [chain.name for chain in alice.chains()] == ["data"], what="the chain is held")
    group = here.house("phone").identities.create("group", controller=phone, suite=ED25519)[0]
    until(lambda: any(one.did == group.did for one in laptop.identities.all()), what="the group is held")
    assert laptop.identities.failure is None


def test_a_refusing_disk_shuts_nobody_in(here: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """I20: chains go on without a removed device although something else fails each time, which is told and tried again."""
    alice, phone = founded(here)
    laptop, told = here.house("laptop"), list[frozenset[bytes]]()
    monkeypatch.setattr(Groups, "_hold_members", _refuse)
    monkeypatch.setattr(Telling, "read", _refuse)
    monkeypatch.setattr(laptop.node, "members_changed", lambda _did: told.append(alice._held.node_keys()))
    alice.remove([seat_of(alice, "phone")])
    until(lambda: bool(told) and here.house("phone").node.key not in told[-1], what="the node is told")
    until(lambda: isinstance(laptop.identities.failure, StorageError), what="the failure is told")
    assert phone.did == alice.did


def _refuse(*_: object) -> None:
    raise StorageError("no room")


def test_only_a_name_that_is_taken_is_changed(here: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """I22: what is no first block of a chain is looked at once."""
    laptop = here.house("laptop")
    laptop.node.create_chain("x")
    made = here.house("elsewhere").identities.create("hers", suite=ED25519)[0]
    genesis = here.house("elsewhere").node.create_chain("x", readers=made.did).genesis
    looked, adopt = list[str](), laptop.node.adopt

    def look(data: bytes, name: str, signer: Signer | None) -> Chain:
        looked.append(name)
        return adopt(data, name=name, signer=signer)

    monkeypatch.setattr(laptop.node, "adopt", look)
    with pytest.raises(InvalidInputError):
        laptop.identities._home.adopt(genesis[:-1], "y")
    assert looked == ["y"]
    assert laptop.identities._home.adopt(genesis, "x").name == "x-2"
