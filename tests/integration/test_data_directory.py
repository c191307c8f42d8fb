"""What `docs/guides/data-directory.md` says of copies, lost files and modes."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.nodes import WITHIN_S, assert_sound, join, open_node, payloads, until, until_same
from walytis_core import ChainStatus, InUseError, Node, UnavailableError
from walytis_core.network import MemoryHub


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def other(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


def test_it_is_closed_to_others(tmp_path: Path, hub: MemoryHub) -> None:
    with open_node(tmp_path / "node", hub) as node:
        node.create_chain("notes").append(b"hello")
        files = [path for path in (tmp_path / "node").rglob("*") if path.is_file()]
        folders = [tmp_path / "node", tmp_path / "node" / "keys"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
        with pytest.raises(InUseError):
            open_node(tmp_path / "node", hub)
    kinds = {path.relative_to(tmp_path / "node").as_posix().partition("-")[0] for path in files}
    assert kinds == {"walytis.db", "lock", "keys/node", "keys/author", "keys/secret"}


def test_a_copy_gets_new_author_keys(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """C27: a directory restored from an old copy does not fork its author."""
    with open_node(tmp_path / "node", hub) as node:
        chain = node.create_chain("notes")
        listed = node.create_chain("listed", writers=[])
        copies = join(other, chain), other.join(str(listed.invite(write=False))).result(WITHIN_S)
        chain.append(b"1")
        listed.append(b"1")
        author, listed_author, key = chain.author, listed.author, node.signer.key
        until_same(chain, copies[0], count=1)
        until_same(listed, copies[1], count=1)
    shutil.copytree(tmp_path / "node", tmp_path / "copy")
    with open_node(tmp_path / "node", hub) as node:
        node.chain("notes").append(b"2")
        node.chain("listed").append(b"2")
        until_same(node.chain("notes"), copies[0], count=2)
        until_same(node.chain("listed"), copies[1], count=2)
        assert node.chain("notes").author == author, "the original keeps its key"
    with open_node(tmp_path / "copy", MemoryHub()) as alone:
        assert alone.signer.key == key, "the node key is copied too"
        assert alone.chain("notes").author != author
        alone.chain("notes").append(b"3, on a train")
        assert alone.chain("listed").author == listed_author
        with pytest.raises(UnavailableError):
            alone.chain("listed").append(b"3, on a train")
    with open_node(tmp_path / "copy", hub) as node:
        until(lambda: node.chain("listed").status().writable is None, what="a sync lets the listed key write")
        node.chain("listed").append(b"3")
        until_same(node.chain("notes"), copies[0], count=3)
        until_same(node.chain("listed"), copies[1], count=3)
        assert payloads(node.chain("listed")) == [b"1", b"2", b"3"]
        for one in (*copies, *node.chains()):
            assert_sound(one)


def test_a_lost_author_key_is_replaced(tmp_path: Path, hub: MemoryHub) -> None:
    with open_node(tmp_path / "node", hub) as node:
        chain, listed = node.create_chain("notes"), node.create_chain("listed", writers=[])
        before = chain.append(b"1")
        listed.append(b"1")
    for key in (tmp_path / "node" / "keys").glob("author-*"):
        key.unlink()
    with open_node(tmp_path / "node", hub) as node:
        after = node.chain("notes").append(b"2")
        assert after.author != before.author
        assert after.parents == (before.id,)
        assert "not among the chain's writers" in (node.chain("listed").status().writable or "")


def test_a_chain_whose_secret_is_lost_is_served_to_nobody(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """C42: the chain id alone must not open a chain that is for holders of a secret, whatever is lost on the disk."""
    with open_node(tmp_path / "node", hub) as node:
        chain = node.create_chain("notes")
        chain.append(b"secret")
        copy = join(other, chain)
        chain_id = chain.id
    (tmp_path / "node" / "keys" / f"secret-{chain_id}").unlink()
    with open_node(tmp_path / "node", hub) as node, Node.in_memory(hub) as stranger:
        node.connect(list(other.addresses())).result(WITHIN_S)
        stranger.connect(list(node.addresses())).result(WITHIN_S)
        copy.append(b"more")
        services = node._service.chains
        until(lambda: chain_id in services and services[chain_id].is_running)
        assert not services[chain_id].keys
        assert not services[chain_id].candidates()
        status: ChainStatus = node.chain("notes").status()
        assert (status.blocks, status.peers) == (1, 0)


def test_a_damaged_chain_is_counted(tmp_path: Path, hub: MemoryHub) -> None:
    """C25: the node's numbers say that a chain could not be opened, and the others are there."""
    with open_node(tmp_path / "node", hub) as node:
        spoilt, sound = node.create_chain("spoilt"), node.create_chain("sound")
        sound.append(b"1")
        key = f"secret-{spoilt.id}"
        assert (node.stats.chains, node.stats.damaged) == (2, 0)
    (tmp_path / "node" / "keys" / key).write_bytes(b"short")
    with open_node(tmp_path / "node", hub) as node:
        assert set(node.damaged()) == {spoilt.id}
        assert (node.stats.chains, node.stats.damaged, node.stats.blocks) == (1, 1, 1)
        node.delete_chain(spoilt.id)
        assert (node.stats.chains, node.stats.damaged) == (1, 0)


def id_channel(chain_id: bytes) -> str:
    """The channel of a chain that everyone may read."""
    from walytis_core.cid import BlockId
    from walytis_core.seals import ChainKeys

    return ChainKeys(BlockId(chain_id)).channel
