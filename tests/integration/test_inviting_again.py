"""A device that was removed: an old invitation does not bring it back, a new one does, from any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from identities import Identities, Identity
from tests.suites.nodes import WITHIN_S, until
from walytis_core import Node, UnavailableError
from walytis_core.network import MemoryHub


@contextmanager
def homes(count: int) -> Iterator[list[Identities]]:
    hub = MemoryHub()
    with ExitStack() as stack:
        nodes = [stack.enter_context(Node.in_memory(hub)) for _ in range(count)]
        yield [stack.enter_context(Identities(node)) for node in nodes]


def remove(identity: Identity, theirs: Identity) -> None:
    seat = theirs.seat
    assert seat is not None
    until(lambda: seat.id in identity.folded.authority.seats)
    identity.remove([seat.id])
    until(lambda: theirs.seat is None)


@contextmanager
def come_anew(node: Node) -> Iterator[Identities]:
    """The same machine, without what it knew of the identity."""
    for chain in node.chains():
        node.delete_chain(chain)
    with Identities(node) as home:
        yield home


@pytest.mark.slow
def test_a_device_that_was_removed() -> None:
    """I18, I20: one seat for each use of an invitation, whoever gave it, and however often keys were renewed."""
    with homes(3) as (laptop, tablet, phone):
        alice = laptop.create("alice")[0]
        also_alice = tablet.join(str(alice.invite())).result(timeout=WITHIN_S)
        used = str(alice.invite())
        joined = phone.join(used).result(timeout=WITHIN_S)
        joined.rekey()
        until(lambda: joined.seat is not None and joined.seat.id in alice.folded.authority.seats)
        remove(alice, joined)
        phone.close()
        with come_anew(phone._home.node) as again:
            with pytest.raises(UnavailableError):
                again.join(used).result(timeout=1)
            assert len(alice.folded.authority.live) == 3
        for giving in (also_alice, alice):
            with come_anew(phone._home.node) as again:
                joined = again.join(str(giving.invite())).result(timeout=WITHIN_S)
                remove(alice, joined)
