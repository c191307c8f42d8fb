"""A chain is on a node whole, or gone: deleting and joining at once, disks that refuse, damage, and forked children."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from tests.suites.hostile import Stranger, keys_of
from tests.suites.nodes import WITHIN_S, join, open_node, payloads, until
from walytis_core import (
    Chain,
    Ed25519Signer,
    JoinError,
    LocalError,
    Node,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from walytis_core.admission import ask_to_join
from walytis_core.events import Synced
from walytis_core.keys import FileKeys
from walytis_core.limits import Limits
from walytis_core.messages import Digest
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.reception import Reception
from walytis_core.store import purge
from walytis_core.store.sqlite import SqliteStore


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def inviter(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def listed(inviter: Node) -> Chain:
    chain = inviter.create_chain("listed", writers=[])
    chain.append(b"first")
    return chain


def key_files(directory: Path) -> list[str]:
    """The kinds of the chain keys in a node's directory."""
    return sorted(path.name.partition("-")[0] for path in (directory / "keys").iterdir() if path.name != "node")


# --- deleting ----------------------------------------------------------------------------------------------------


def test_joining_while_the_rows_of_the_deleted_one_go(
    tmp_path: Path, hub: MemoryHub, listed: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C27: a chain that is joined again before its deletion has ended keeps its new keys."""
    begun, go_on = threading.Event(), threading.Event()
    remove = SqliteStore.purge

    def slow(store: SqliteStore) -> None:
        begun.set()
        assert go_on.wait(30)
        remove(store)

    with open_node(tmp_path, hub) as node:
        copy = join(node, listed)
        monkeypatch.setattr(SqliteStore, "purge", slow)
        deleting = threading.Thread(target=node.delete_chain, args=[copy])
        deleting.start()
        assert begun.wait(30)
        again = join(node, listed)
        go_on.set()
        deleting.join(30)
        assert key_files(tmp_path) == ["author", "secret"]
        author = again.append(b"mine").author
    with open_node(tmp_path, hub) as node:
        assert node.chain(listed.id).append(b"more").author == author
        until(lambda: b"more" in payloads(listed))


def test_a_disk_that_refuses_to_delete(tmp_path: Path, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25, C27: then the chain is there as before; deleting it works once the disk does."""

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        with monkeypatch.context() as broken:
            broken.setattr(purge, "mark", refuse)
            with pytest.raises(StorageError):
                node.delete_chain(chain)
        assert node.chain("notes") is chain
        chain.append(b"goes on")
        node.delete_chain("notes")
        for name in ("notes", chain.id):
            with pytest.raises(NotFoundError):
                node.chain(name)
        with pytest.raises(NotFoundError):
            node.delete_chain(chain)
        assert node.create_chain("notes").name == "notes"


def test_keys_that_cannot_be_deleted_go_at_the_next_opening(
    tmp_path: Path, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C27: the chain is gone; a secret of it does not stay for ever, and those of others do."""

    def refuse(*_: object) -> None:
        raise StorageError("the disk refuses")

    with open_node(tmp_path, hub) as node:
        node.create_chain("kept")
        chain = node.create_chain("notes")
        with monkeypatch.context() as broken:
            broken.setattr(FileKeys, "delete", refuse)
            with pytest.raises(StorageError):
                node.delete_chain(chain)
        assert [one.name for one in node.chains()] == ["kept"]
    assert len(key_files(tmp_path)) == 4
    with open_node(tmp_path, hub) as node:
        assert key_files(tmp_path) == ["author", "secret"]
        node.chain("kept").append(b"with its key")


def test_keys_wait_for_a_database_that_is_put_back(tmp_path: Path, hub: MemoryHub) -> None:
    """C22: opening a directory without its database deletes no chain's keys."""
    with open_node(tmp_path, hub) as node:
        node.create_chain("notes")
    (tmp_path / "walytis.db").unlink()
    with open_node(tmp_path, hub) as node:
        assert node.chains() == []
    assert key_files(tmp_path) == ["author", "secret"]


# --- joining -----------------------------------------------------------------------------------------------------


def test_what_an_author_needs_comes_with_the_chain(
    hub: MemoryHub, listed: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C22, C40: a crash right after the chain was written leaves its admission and doubts, too: it is one transaction."""
    seen: list[dict[str, bytes]] = []
    create = SqliteStore.create_chain

    def spy(store: SqliteStore, *arguments: object) -> object:
        tables = create(store, *arguments)  # type: ignore[arg-type]
        seen.append(tables.items("author/"))
        return tables

    monkeypatch.setattr(SqliteStore, "create_chain", spy)
    with Node.in_memory(hub) as node:
        node.join(str(listed.invite()), signer=Ed25519Signer(bytes(32))).result(WITHIN_S)
    assert set(seen[0]) == {"author/start", "author/unsure", "author/given", "author/issuer"}


@pytest.mark.parametrize(("where", "name"), [(SqliteStore, "create_chain"), (Reception, "open"), (FileKeys, "put")])
def test_a_join_on_a_disk_that_refuses(
    tmp_path: Path, hub: MemoryHub, listed: Chain, monkeypatch: pytest.MonkeyPatch, where: type, name: str
) -> None:
    """C25, C40: nothing stays of it, and it works once there is space."""

    def refuse(*_: object) -> None:
        raise StorageError("the disk is full")

    with open_node(tmp_path, hub) as node:
        uri = str(listed.invite())
        with monkeypatch.context() as broken:
            broken.setattr(where, name, refuse)
            with pytest.raises(StorageError):
                node.join(uri).result(WITHIN_S)
        assert (node.chains(), key_files(tmp_path)) == ([], [])
        copy = node.join(uri).result(WITHIN_S)
        copy.append(b"mine")
        until(lambda: b"mine" in payloads(listed))


def test_an_awaited_join_that_runs_out_of_time(hub: MemoryHub, inviter: Node, listed: Chain) -> None:
    """C40, C48: `asyncio.wait_for` undoes it as `cancel` does: it can be tried again at once."""
    listed.append_many([bytes(300)] * 3000)
    uri = str(listed.invite())

    async def give_up(node: Node, after_s: float) -> bool:
        try:
            await asyncio.wait_for(node.join(uri), after_s)
        except TimeoutError:
            return True
        return False

    with Node.in_memory(hub) as node:
        for after_s in (0.005, 0.02, 0.05):
            if not asyncio.run(give_up(node, after_s)):
                node.delete_chain(listed.id)
            assert node.chains() == []
        assert len(node.join(uri).result(WITHIN_S)) >= 3001


def test_one_use_admits_a_few_keys(inviter: Node, listed: Chain, hub: MemoryHub) -> None:
    """C39: a node may come back with a fresh key, and not with any number."""
    invitation = listed.invite(uses=1)
    before = len(listed)

    async def ask(stranger: Stranger) -> int:
        peer = await stranger.connect(inviter)
        for count in range(Limits.authors_per_use + 5):
            author = Ed25519Signer(os.urandom(32))
            try:
                for _ in range(2):  # the same key again is no other
                    await ask_to_join(stranger.network, peer, invitation, stranger.signer, author)
            except JoinError:
                return count
        return -1

    with Stranger(MemoryNetwork(hub)) as stranger:
        assert stranger.run(ask, stranger) == Limits.authors_per_use
    assert len(listed) - before == Limits.authors_per_use


# --- damage ------------------------------------------------------------------------------------------------------


def flip_genesis(directory: Path, chain: Chain) -> None:
    """Flips the last bit of a chain's first block."""
    with closing(sqlite3.connect(directory / "walytis.db")) as database, database:
        (encoded,) = database.execute("SELECT encoded FROM blocks WHERE id = ?", (chain.id[4:],)).fetchone()
        flipped = encoded[:-1] + bytes([encoded[-1] ^ 1])
        database.execute("UPDATE blocks SET encoded = ? WHERE id = ?", (flipped, chain.id[4:]))


def cut_secret(directory: Path, chain: Chain) -> None:
    """Empties the file of a chain's secret."""
    (directory / "keys" / f"secret-{chain.id}").write_bytes(b"")


def cut_seed(directory: Path, chain: Chain) -> None:
    """Empties the file of a chain's author key."""
    (directory / "keys" / f"author-{chain.id}").write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_genesis, cut_secret, cut_seed])
def test_one_damaged_chain(tmp_path: Path, hub: MemoryHub, listed: Chain, damage: object) -> None:
    """C24: the others open and work; the damaged one says what it is, and can be deleted and joined again."""
    with open_node(tmp_path, hub) as node:
        bad = join(node, listed)
        node.create_chain("good").append(b"1")
    assert callable(damage)
    damage(tmp_path, bad)
    with open_node(tmp_path, hub) as node:
        assert payloads(node.chain("good")) == [b"1"]
        node.chain("good").append(b"2")
        assert [one.name for one in node.chains()] == ["good"]
        assert list(node.damaged()) == [bad.id]
        for name in ("listed", bad.id):
            with pytest.raises(StorageError, match="damaged"):
                node.chain(name)
        with pytest.raises(LocalError, match="damaged"):
            _ = node.join(str(listed.invite()))
        node.delete_chain("listed")
        assert node.damaged() == {}
        assert b"first" in payloads(join(node, listed))
        assert key_files(tmp_path) == ["author", "author", "secret", "secret"]


# --- a key that may write only after a sync -----------------------------------------------------------------------


def test_an_echo_lifts_no_doubt(tmp_path: Path, hub: MemoryHub) -> None:
    """C27: a reader that echoes a copy's digest does not have it fork its listed key, where other peers are known."""
    with open_node(tmp_path / "a", hub) as node, Node.in_memory(hub) as other:
        chain = node.create_chain("listed", writers=[])
        copy = join(other, chain)
        copy.append(b"1")
        until(lambda: b"1" in payloads(chain))
        service = node._service.chains[chain.id]
        until(lambda: service.known_peers == 1)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    elsewhere = MemoryHub()
    with open_node(tmp_path / "copy", elsewhere) as node, Stranger(MemoryNetwork(elsewhere)) as stranger:
        chain = node.chain("listed")
        node.addresses()  # it is up

        async def echo() -> None:
            wire = await stranger.open(node, keys_of(node, chain))
            digest = await wire.receive_of(Digest)
            await wire.send(Digest(digest.digest, digest.held))
            await synced.wait()

        synced = trio.Event()
        chain.engine.listen(lambda change: stranger._loop.post(synced.set) if isinstance(change, Synced) else None)
        stranger.run(echo)
        with pytest.raises(UnavailableError):
            chain.append(b"a fork")


# --- a forked child ----------------------------------------------------------------------------------------------

_FORKING = """
import os, sys
from walytis_core import ClosedError, Node
from walytis_core.network import MemoryHub, MemoryNetwork
with Node.open(sys.argv[1], network=MemoryNetwork(MemoryHub())) as node:
    chain = node.create_chain("notes")
    chain.append(b"parent")
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: chain.append(b"child"), chain.verify, node.chains, lambda: node.create_chain("two")):
            try:
                use()
            except ClosedError:
                refused += 1
        node.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    chain.append(b"parent again")
    assert [block.payload for block in chain.blocks()] == [b"parent", b"parent again"]
    assert not chain.verify().problems
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_may_not_use_the_node(tmp_path: Path) -> None:
    """C27, C46: it is told so, instead of forking the author; closing there does nothing, and the parent goes on."""
    command = [sys.executable, "-W", "ignore", "-c", _FORKING, str(tmp_path / "node")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")
