"""A node whose keys are sealed: what it was before, and closed to whoever has no passphrase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from identities.keystore import Keystore, open_keys
from identities.keystore_file import Costs
from tests.suites.nodes import assert_sound, join, open_node, payloads, until_same
from tests.suites.secret_scan import in_clear, only_sealed
from walytis_core import InUseError, LockedError, Node, WrongPassphraseError
from walytis_core.keys import Keys
from walytis_core.network import MemoryHub, MemoryNetwork

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture(autouse=True)
def nothing_in_clear(tmp_path: Path) -> Iterator[None]:
    """I27: a scan of the whole directory after every test."""
    with only_sealed(tmp_path):
        yield


def sealed_keys(folder: Path) -> Keys:
    return Keystore(folder, PASSPHRASE, costs=Costs(8, 1, 1))


def open_sealed(directory: Path, hub: MemoryHub) -> Node:
    return Node.open(directory, network=MemoryNetwork(hub), keys=sealed_keys)


def key_files(directory: Path) -> set[str]:
    return {path.name for path in (directory / "keys").iterdir()}


def test_an_existing_directory_is_sealed(tmp_path: Path, hub: MemoryHub) -> None:
    """I27: made without a keystore, opened with one: the same node, author, chains and readers; nothing of it in the clear."""
    with open_node(tmp_path / "node", hub) as node, Node.in_memory(hub) as other:
        chain = node.create_chain("notes")
        chain.append(b"1")
        copy = join(other, chain)
        key, author = node.signer.key, chain.author
        plain = {path.name: path.read_bytes() for path in (tmp_path / "node" / "keys").iterdir()}
        node.close()
        assert len(in_clear(tmp_path, plain.values())) == len(plain) == 4, (
            "the scan sees plain keys: one is an invitation's"
        )
        with open_sealed(tmp_path / "node", hub) as again:
            assert key_files(tmp_path / "node") == {"keystore", "lock"}
            assert again.signer.key == key
            chain = again.chain("notes")
            assert chain.author == author
            chain.append(b"2")
            again.connect(list(other.addresses())).result(30)
            until_same(chain, copy, count=2)
            later = again.create_chain("later")
            join(other, later)
            later.append(b"3")
            assert_sound(chain)
    with open_sealed(tmp_path / "node", hub) as node:
        assert payloads(node.chain("notes")) == [b"1", b"2"]
        assert node.chain("later").author == later.author
        assert node.damaged() == {}


def test_without_the_passphrase_nothing_is_opened_or_made(tmp_path: Path, hub: MemoryHub) -> None:
    """I27: a clear error, no fresh keys beside the sealed ones, and the directory is free again at once."""
    with open_sealed(tmp_path, hub) as node:
        key = node.signer.key
        node.create_chain("notes").append(b"1")
    before = key_files(tmp_path)
    with pytest.raises(LockedError, match="no passphrase was given"):
        open_node(tmp_path, hub)
    with pytest.raises(LockedError):
        Node.open(tmp_path, network=MemoryNetwork(hub), keys=lambda folder: open_keys(folder, None))
    with pytest.raises(WrongPassphraseError):
        Node.open(tmp_path, network=MemoryNetwork(hub), keys=lambda folder: open_keys(folder, b"wrong"))
    assert key_files(tmp_path) == before
    with open_sealed(tmp_path, hub) as node:
        assert node.signer.key == key
        assert payloads(node.chain("notes")) == [b"1"]


def test_the_keystore_is_closed_with_its_node(tmp_path: Path, hub: MemoryHub) -> None:
    """I28: while a node runs nobody else opens its keystore; afterwards whoever has the passphrase may."""
    with open_sealed(tmp_path, hub) as node:
        with pytest.raises(InUseError):
            sealed_keys(tmp_path / "keys")
        with pytest.raises(InUseError):
            open_sealed(tmp_path, hub)
        node.create_chain("notes")
    sealed_keys(tmp_path / "keys").close()


def test_deleting_a_chain_deletes_its_sealed_keys(tmp_path: Path, hub: MemoryHub) -> None:
    with open_sealed(tmp_path, hub) as node:
        kept, gone = node.create_chain("kept"), node.create_chain("gone")
        invitation = kept.invite()
        gone.invite()
        node.delete_chain(gone)
    with Keystore(tmp_path / "keys", PASSPHRASE) as keys:
        names = {"node", f"author-{kept.id}", f"secret-{kept.id}", f"invitation-{invitation.id.hex()}"}
        assert set(keys._secrets) == names
