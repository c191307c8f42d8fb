"""Invitations and joins: who gets in, who does not, and what a joiner learns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.suites.nodes import WITHIN_S, assert_sound, ids, join, open_node, payloads, until, until_same
from walytis_core import (
    BlockId,
    Chain,
    ClosedError,
    Ed25519Signer,
    InvalidInputError,
    Invitation,
    InvitationUse,
    JoinError,
    LocalError,
    Node,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
    WalytisError,
)
from walytis_core.network import MemoryHub


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def node(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def other(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def third(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def chain(node: Node) -> Chain:
    chain = node.create_chain("notes")
    chain.append(b"secret")
    return chain


def assert_refused(node: Node, invitation: Invitation | str, *words: str) -> None:
    """Asserts that a join fails with a reason, and that nothing stays."""
    before = [chain.id for chain in node.chains()]
    with pytest.raises(JoinError) as caught:
        _ = node.join(invitation).result(WITHIN_S)
    assert any(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.hint
    assert [chain.id for chain in node.chains()] == before
    kept = vars(node._keys).get("_secrets", {})
    assert not [name for name in kept if name.startswith(("author-", "secret-")) and str(before) == "[]"]


def test_single_use(node: Node, other: Node, third: Node, chain: Chain) -> None:
    """C39: it works once; a second peer is refused even if it edits its copy."""
    invitation = chain.invite()
    copy = other.join(str(invitation)).result(WITHIN_S)
    assert payloads(copy) == [b"secret"]
    assert_refused(third, str(invitation), "used")
    edited = replace(invitation, expires=int(datetime.now(UTC).timestamp()) + 10_000, name="mine")
    assert_refused(third, str(edited), "used")
    (record,) = chain.invitations()
    assert record.used_by == {other.signer.key[2:]}
    assert_sound(chain)


def test_the_first_may_retry(node: Node, other: Node, third: Node, chain: Chain) -> None:
    """C39: whoever used it may join again, e.g. after a cut or after deleting the chain; nobody else may."""
    uri = str(chain.invite())
    for _ in range(3):
        copy = other.join(uri).result(WITHIN_S)
        copy.append(b"x")
        other.delete_chain(copy)
    assert_refused(third, uri, "used")


def test_a_retry_after_a_cut(node: Node, other: Node, chain: Chain, hub: MemoryHub) -> None:
    """C39: the inviter vanishes in the middle of the handshake, at every point; the join goes on by itself."""
    for delay in range(6):
        uri = str(chain.invite())
        pending = other.join(uri)
        for _ in range(delay * 3):
            pending.done()
        hub.split([node.peer_id], [other.peer_id])
        hub.heal()
        copy = pending.result(WITHIN_S)
        assert payloads(copy)[0] == b"secret"
        other.delete_chain(copy)


def test_uses_tell_of_the_keys_that_came(node: Node, other: Node, chain: Chain) -> None:
    """I18: node key and author key of who used it, proven together; where any number may, and none is let write, nothing."""
    listed = node.create_chain("listed", writers=[node.signer.key], readers="everyone")
    open_to_all, plain = listed.invite(uses=None), chain.invite()
    for invitation in (open_to_all, plain):
        other.delete_chain(other.join(invitation).result(WITHIN_S))
    assert listed.invitation_uses() == []
    assert chain.invitation_uses() == [InvitationUse(other.key, frozenset(), plain.id)]
    invitation, keys = listed.invite(), set[bytes]()
    for _ in range(2):
        copy = other.join(invitation).result(WITHIN_S)
        keys.add(copy.author)
        other.delete_chain(copy)
        assert listed.invitation_uses() == [InvitationUse(other.key, frozenset(keys), invitation.id)]
    assert len(keys) == 2


def test_reusable(node: Node, chain: Chain, hub: MemoryHub) -> None:
    """C39: `uses` counts nodes; None lets any number in."""
    twice, always = str(chain.invite(uses=2)), str(chain.invite(uses=None))
    for uri, lets_in in ((twice, 2), (always, 4)):
        for number in range(4):
            with Node.in_memory(hub) as joiner:
                if number < lets_in:
                    assert payloads(joiner.join(uri).result(WITHIN_S)) == [b"secret"]
                else:
                    assert_refused(joiner, uri, "used")


def test_concurrent_joins_take_one_use(node: Node, chain: Chain, hub: MemoryHub) -> None:
    """C39: eight nodes at once with a single use: one gets in."""
    uri = str(chain.invite())
    nodes = [Node.in_memory(hub) for _ in range(8)]
    try:
        results: list[object] = []
        for pending in [one.join(uri) for one in nodes]:
            try:
                results.append(pending.result(WITHIN_S))
            except JoinError as error:
                results.append(error)
        assert sum(isinstance(result, Chain) for result in results) == 1
        assert sum(len(one.chains()) for one in nodes) == 1
    finally:
        for one in nodes:
            one.close()


def test_expired(node: Node, other: Node, chain: Chain) -> None:
    """C39: an expired one reads nothing, also with its expiry edited away."""
    invitation = chain.invite(expires=timedelta(seconds=1.2))
    until(lambda: datetime.now(UTC).timestamp() > (invitation.expires or 0) + 0.01)
    assert_refused(other, str(invitation), "expired")
    assert_refused(other, str(replace(invitation, expires=None)), "expired")
    assert_refused(other, replace(invitation, expires=(invitation.expires or 0) + 9999), "expired")
    assert not chain.peers()


def test_revoked(node: Node, other: Node, chain: Chain) -> None:
    """C39: a revoked one reads nothing, and is as if it had never been; revoking what is not there is an error."""
    by_value, by_id, by_record = chain.invite(), chain.invite(), chain.invite()
    chain.revoke(by_value)
    chain.revoke(by_id.id)
    chain.revoke(next(record for record in chain.invitations() if record.id == by_record.id))
    for invitation in (by_value, by_id, by_record):
        assert_refused(other, str(invitation), "not honoured")
    assert all(record.revoked for record in chain.invitations())
    with pytest.raises(NotFoundError):
        chain.revoke(bytes(16))
    join(other, chain)


def test_records_survive_a_restart(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """C39: uses, expiry and revocation are durable."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        used, open_one, revoked = chain.invite(), chain.invite(), chain.invite()
        other.delete_chain(other.join(str(used)).result(WITHIN_S))
        chain.revoke(revoked)
    with open_node(tmp_path / "a", hub) as node, Node.in_memory(hub) as third:
        node.addresses()
        assert_refused(third, str(used), "used")
        assert_refused(third, str(revoked), "not honoured")
        third.join(str(open_one)).result(WITHIN_S)


def test_edited_seed_and_ids_learn_nothing(node: Node, other: Node, chain: Chain) -> None:
    """C39, C40: what the issuer did not make gets one answer: it is not honoured."""
    invitation = chain.invite()
    assert_refused(other, replace(invitation, seed=bytes(16)), "not honoured")
    assert_refused(other, replace(invitation, chain_id=BlockId.of(b"another")), "not honoured")
    assert_refused(other, replace(invitation, seed=None), "not honoured")
    assert payloads(other.join(str(invitation)).result(WITHIN_S)) == [b"secret"]


def test_a_wrong_issuer(node: Node, other: Node, third: Node, chain: Chain) -> None:
    """C40: the peer at the address is somebody else: fails cleanly, and a retry with the right one works."""
    invitation = chain.invite()
    wrong = replace(invitation, addresses=tuple(third.addresses()))
    pending = other.join(wrong)
    with pytest.raises(WalytisError):
        pending.result(1)
    pending.cancel()
    assert other.chains() == []
    assert payloads(other.join(str(invitation)).result(WITHIN_S)) == [b"secret"]


@pytest.mark.parametrize("cut", [0, 1, 8, 20, 100, -1])
def test_a_truncated_uri(other: Node, chain: Chain, cut: int) -> None:
    uri = str(chain.invite())
    with pytest.raises(InvalidInputError) as caught:
        _ = other.join(uri[:cut])
    assert caught.value.hint


def test_a_mistyped_uri(other: Node, chain: Chain) -> None:
    uri = str(chain.invite())
    for at in range(8, len(uri), 7):
        letter = "a" if uri[at] != "a" else "b"
        with pytest.raises((InvalidInputError, JoinError)):
            _ = other.join(uri[:at] + letter + uri[at + 1 :])
    assert other.chains() == []
    spaced = "\n ".join(uri[at : at + 40] for at in range(0, len(uri), 40)).upper()
    assert payloads(other.join(spaced).result(WITHIN_S)) == [b"secret"]


def test_an_invitation_says_little(node: Node, chain: Chain) -> None:
    """C41: under 300 characters, without the chain secret; nothing of it is in a `repr`."""
    invitation = chain.invite()
    uri = str(invitation)
    assert uri.startswith("walytis:")
    assert len(uri) < 300
    secret = node._secrets.secret(chain.id)
    assert secret is not None
    assert secret.key not in Invitation.parse(uri).__repr__().encode()
    assert invitation.seed is not None
    assert invitation.seed.hex() not in repr(invitation)
    assert uri not in repr(invitation)
    assert repr(chain.invitations()[0]).count(invitation.seed.hex()) == 0


@pytest.mark.parametrize("uses", [0, -1, 10**9])
def test_bad_uses(chain: Chain, uses: int) -> None:
    with pytest.raises(InvalidInputError):
        chain.invite(uses=uses)
    assert chain.invitations() == []


def test_bad_expiry(chain: Chain) -> None:
    for expires in (timedelta(0), timedelta(days=-1), datetime.now(UTC), datetime(2100, 1, 1), timedelta.max):  # noqa: DTZ001
        with pytest.raises(InvalidInputError):
            chain.invite(expires=expires)
    assert chain.invitations() == []
    chain.invite(expires=datetime.now(UTC) + timedelta(hours=1))


# --- policies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readers", ["secret", "everyone"])
@pytest.mark.parametrize("writers", ["anyone", "listed"])
@pytest.mark.parametrize("write", [True, False])
def test_every_policy(node: Node, other: Node, third: Node, readers: str, writers: str, write: bool) -> None:
    """C09, C39: who may write after joining, on each policy; a chain of joins by joiners too."""
    chain = node.create_chain("x", readers=readers, writers="anyone" if writers == "anyone" else [])
    chain.append(b"1")
    copy = other.join(str(chain.invite(write=write))).result(WITHIN_S)
    assert payloads(copy)[0] == b"1"
    assert copy.policy == chain.policy
    if writers == "listed" and not write:
        with pytest.raises(NotAllowedError):
            copy.append(b"2")
        assert copy.status().writable
        return
    assert copy.status().writable is None
    copy.append(b"2")
    until(lambda: b"2" in payloads(chain))
    further = third.join(str(copy.invite(write=write))).result(WITHIN_S)
    assert b"1" in payloads(further)
    further.append(b"3")
    until(lambda: b"3" in payloads(chain))
    until_same(chain, copy, further)
    assert_sound(chain)
    assert_sound(further)


def test_uses_are_refused_on_open_chains(node: Node, other: Node, third: Node) -> None:
    """C39: on a chain open to all an invitation is an address."""
    chain = node.create_chain("x", readers="everyone")
    with pytest.raises(InvalidInputError):
        chain.invite(uses=2)
    invitation = chain.invite()
    assert invitation.seed is None
    assert chain.invitations() == []
    for joiner in (other, third):
        joiner.join(str(invitation)).result(WITHIN_S)


def test_admitting_a_key_by_hand(node: Node, other: Node, third: Node) -> None:
    """C09: `admit` lets another key write; it stays a writer."""
    signer = Ed25519Signer(bytes(range(32)))
    chain = node.create_chain("x", writers=[])
    chain.admit(signer.key)
    copy = other.join(str(chain.invite(write=True)), signer=signer).result(WITHIN_S)
    until(lambda: copy.status().writable is None)
    copy.append(b"1")
    until(lambda: b"1" in payloads(chain))
    for bad in (b"", bytes(34), signer.key[:-1]):
        with pytest.raises(InvalidInputError):
            chain.admit(bad)
    reader = third.join(str(chain.invite(write=False))).result(WITHIN_S)
    with pytest.raises(NotAllowedError):
        reader.admit(reader.author)
    assert_sound(chain)


def test_a_listed_writer_needs_no_admission(node: Node, other: Node) -> None:
    """C09: a key that the genesis lists writes at once after a first sync."""
    signer = Ed25519Signer(bytes(range(32)))
    chain = node.create_chain("x", writers=[signer.key])
    copy = other.join(str(chain.invite()), signer=signer).result(WITHIN_S)
    until(lambda: copy.status().writable is None)
    block = copy.append(b"1")
    assert block.author == signer.key
    until_same(chain, copy, count=1)


# --- what a joiner gets, and what fails --------------------------------------------------------------------------


def meets_only(chain: Chain, node: Node) -> bool:
    return {info.peer for info in chain.peers()} == {node.peer_id}


def test_a_joiner_gets_this_chain_only(node: Node, other: Node, third: Node, chain: Chain) -> None:
    """C41: no other chain's peers, no local names but the suggested one."""
    private = node.create_chain("a private name")
    private.append(b"private")
    third_copy = join(third, private)
    node.rename(chain, "a local name")
    invitation = chain.invite()
    node.rename(chain, "changed later")
    copy = other.join(str(invitation)).result(WITHIN_S)
    assert copy.name in ("a local name", "changed later")
    assert [one.id for one in other.chains()] == [chain.id]
    for one in (copy, third_copy):  # a stream that the other end opened at once takes its place: looked at again
        until(partial(meets_only, one, node))
    book = copy.tables.get("peers") or b""
    assert third.peer_id.encode() not in book
    assert third.peer_id not in other._network.connected()
    assert ids(copy) == ids(chain)
    until(partial(meets_only, third_copy, node))


def test_joining_twice(node: Node, other: Node, chain: Chain) -> None:
    """C39: a chain that is held already is not joined again, and its own author stays."""
    uri = str(chain.invite(uses=None))
    copy = other.join(uri).result(WITHIN_S)
    with pytest.raises(LocalError):
        _ = other.join(uri)
    with pytest.raises(LocalError):
        _ = node.join(uri)
    assert copy.append(b"1").author == copy.author


def test_two_joins_at_once(tmp_path: Path, node: Node, chain: Chain, hub: MemoryHub) -> None:
    """C39: one of them wins, and the chain's own key is the winner's, also after a restart."""
    listed = node.create_chain("listed", writers=[])
    with open_node(tmp_path / "b", hub) as other:
        for target in (chain, listed):
            uri = str(target.invite(uses=None))
            pendings = [other.join(uri) for _ in range(6)]
            results: list[object] = []
            for pending in pendings:
                try:
                    results.append(pending.result(WITHIN_S))
                except (LocalError, JoinError) as error:
                    results.append(error)
            assert sum(isinstance(result, Chain) for result in results) == 1
        assert len(other.chains()) == 2
        authors = [one.append(b"1").author for one in other.chains()]
    with open_node(tmp_path / "b", hub) as other:
        assert [one.author for one in other.chains()] == authors
        assert [one.append(b"2").author for one in other.chains()] == authors


def test_cancelling_a_join(node: Node, other: Node, chain: Chain) -> None:
    """C40: at whatever moment it is cancelled, nothing stays, and a later join works."""
    uri = str(chain.invite())
    waiting = threading.Event()
    for step in range(30):
        pending = other.join(uri)
        waiting.wait(step / 2000)
        if pending.cancel():
            with pytest.raises(ClosedError):
                pending.result(WITHIN_S)
        else:
            other.delete_chain(pending.result(WITHIN_S))
        until(lambda: other.chains() == [])
    assert payloads(other.join(uri).result(WITHIN_S)) == [b"secret"]


def test_the_inviter_comes_later(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """C39: while the issuer is offline the join waits, says so, and goes on by itself."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        chain.append(b"1")
        uri = str(chain.invite())
    pending = other.join(uri)
    until(lambda: "waiting" in pending.progress().state)
    with pytest.raises(UnavailableError) as caught:
        pending.result(0.1)
    assert "online" in str(caught.value)
    with open_node(tmp_path / "a", hub):
        assert payloads(pending.result(WITHIN_S)) == [b"1"]
        assert pending.progress().held == 1


def test_a_deleted_chain_invites_nobody(node: Node, other: Node, chain: Chain) -> None:
    """C27: after deletion the invitation is not honoured."""
    uri = str(chain.invite())
    node.delete_chain(chain)
    assert_refused(other, uri, "not honoured")
