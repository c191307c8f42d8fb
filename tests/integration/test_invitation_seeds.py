"""The seeds of invitations: with the node's keys, never in the database, and gone with what they let into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from identities.keystore import Keystore
from identities.keystore_file import Costs
from tests.suites.nodes import WITHIN_S, open_node, until
from tests.suites.secret_scan import in_clear, only_sealed
from walytis_core import Chain, Invitation, JoinError, Node, StorageError, cbor
from walytis_core.chain_keys import ChainSecrets
from walytis_core.keys import FileKeys, Keys
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.store.database import Database
from walytis_core.store.sqlite import SqliteStore

PASSPHRASE = b"correct horse battery staple"
DATABASE = "walytis.db"


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def other(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


def seeds(directory: Path) -> set[str]:
    """The ids of the invitations whose seeds are kept in plain files."""
    return {path.name.removeprefix("invitation-") for path in (directory / "keys").glob("invitation-*")}


def ids_of(*invitations: Invitation) -> set[str]:
    return {invitation.id.hex() for invitation in invitations}


def seed_of(invitation: Invitation) -> bytes:
    assert invitation.seed is not None
    return invitation.seed


def lets_in(invitation: Invitation, other: Node) -> bool:
    """Whether an invitation lets a node in, which then leaves again."""
    try:
        other.delete_chain(other.join(str(invitation)).result(WITHIN_S))
    except JoinError:
        return False
    return True


def make_old(chain: Chain, invitation: Invitation) -> None:
    """Writes the record as version 1 did, with its seed, and takes the seed from the keys."""
    (now,) = [record for record in chain.invitations() if record.id == invitation.id]
    old = [1, now.id, seed_of(invitation), now.uses, now.expires, now.write, now.revoked, sorted(now.used_by)]
    chain.tables.put(f"invite/{now.id.hex()}", cbor.encode(old))  # type: ignore[arg-type]
    chain._home.reception._secrets.drop_seed(now.id)


# --- where they are --------------------------------------------------------------------------------------------------


def test_seeds_are_in_the_keystore_alone(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """I27: fresh, used, revoked: nothing of an invitation's seed is in the clear, and it works after a restart."""

    def sealed(folder: Path) -> Keys:
        return Keystore(folder, PASSPHRASE, costs=Costs(8, 1, 1))

    with only_sealed(tmp_path) as secrets:
        with Node.open(tmp_path, network=MemoryNetwork(hub), keys=sealed) as node:
            chain = node.create_chain("notes")
            used, revoked, later = chain.invite(), chain.invite(), chain.invite(uses=3)
            secrets |= {seed_of(one) for one in (used, revoked, later)}
            assert lets_in(used, other)
            chain.revoke(revoked)
            assert not in_clear(tmp_path, secrets), "while it is open, too"
        with Node.open(tmp_path, network=MemoryNetwork(hub), keys=sealed) as node:
            node.addresses()
            assert lets_in(later, other)
            assert not lets_in(revoked, other)


def test_plain_seeds_are_files_of_their_own(tmp_path: Path, hub: MemoryHub) -> None:
    """I27: without a keystore they are files of mode 0600, and the database has nothing of them."""
    with open_node(tmp_path, hub) as node:
        invitation = node.create_chain("notes").invite()
        file = tmp_path / "keys" / f"invitation-{invitation.id.hex()}"
        assert file.read_bytes() == invitation.seed
        assert file.stat().st_mode & 0o777 == 0o600
        assert {found.partition(":")[0] for found in in_clear(tmp_path, [seed_of(invitation)])} == {f"keys/{file.name}"}


# --- when they go ----------------------------------------------------------------------------------------------------


def test_a_revoked_seed_is_gone_at_once(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """I18: so a database put back from before it does not bring it back."""
    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        gone, kept = chain.invite(), chain.invite()
        before = chain.tables.get(f"invite/{gone.id.hex()}")
        chain.revoke(gone)
        assert seeds(tmp_path) == ids_of(kept)
        chain.tables.put(f"invite/{gone.id.hex()}", before)
        assert not lets_in(gone, other)
        assert lets_in(kept, other)


def test_the_chain_id_stands_for_no_lost_seed(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """I18: an invitation whose seed is gone is not an address: who knows its id and the chain's is not let in."""
    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        invitation = chain.invite()
        chain._home.reception._secrets.drop_seed(invitation.id)
        address = Invitation(chain_id=chain.id, issuer=invitation.issuer, addresses=invitation.addresses)
        with patch.object(Invitation, "id", invitation.id):
            assert not lets_in(address, other)


def test_an_expired_seed_goes_at_the_next_opening(tmp_path: Path, hub: MemoryHub) -> None:
    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        short, long, endless = (chain.invite(expires=timedelta(seconds=s)) for s in (1.1, 1000, 10**6))
        assert seeds(tmp_path) == ids_of(short, long, endless)
        record = next(record for record in chain.invitations() if record.id == short.id)
        until(lambda: record.has_ended(int(time.time())))
    with open_node(tmp_path, hub) as node:
        assert seeds(tmp_path) == ids_of(long, endless)
        assert {record.id.hex() for record in node.chain("notes").invitations()} == ids_of(short, long, endless)


def test_a_deleted_chain_takes_its_seeds_along(tmp_path: Path, hub: MemoryHub) -> None:
    with open_node(tmp_path, hub) as node:
        kept, gone = node.create_chain("kept"), node.create_chain("gone")
        stays = kept.invite()
        gone.invite()
        gone.invite(uses=None)
        node.delete_chain(gone)
        assert seeds(tmp_path) == ids_of(stays)


def test_a_crash_in_the_middle_of_a_deletion(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """I27: what the disk did not let go is gone after the next opening, or when the same chain comes back."""
    with open_node(tmp_path, hub) as node:
        uri = str(other.create_chain("theirs").invite(uses=None))
        for round in range(2):
            gone = node.join(uri).result(WITHIN_S)
            gone.invite()
            with (
                patch.object(FileKeys, "delete", side_effect=StorageError("the disk refuses")),
                pytest.raises(StorageError),
            ):
                node.delete_chain(gone)
            assert len(seeds(tmp_path)) == 1, f"round {round}: the one of before went as the chain came back"
    with open_node(tmp_path, hub) as node:
        assert node.chains() == []
        assert {path.name for path in (tmp_path / "keys").iterdir()} == {"node"}


def test_a_crash_between_a_note_and_the_deletion(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """The chain is held as before, and so are its invitations."""
    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        invitation = chain.invite()
        with (
            patch.object(SqliteStore, "hide_chain", side_effect=StorageError("killed")),
            pytest.raises(StorageError),
        ):
            node.delete_chain(chain)
    with open_node(tmp_path, hub) as node:
        node.addresses()
        assert lets_in(invitation, other)


def test_a_seed_that_cannot_be_kept_leaves_no_invitation(tmp_path: Path, hub: MemoryHub) -> None:
    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        with (
            patch.object(ChainSecrets, "put_seed", side_effect=StorageError("the disk is full")),
            pytest.raises(StorageError),
        ):
            chain.invite()
        assert chain.invitations() == []
        assert seeds(tmp_path) == set()


# --- directories of version 1 ----------------------------------------------------------------------------------------


def an_old_directory(directory: Path, hub: MemoryHub) -> list[Invitation]:
    """A directory in which records hold seeds: some live, some were grown, shrunk and deleted over and over."""
    with open_node(directory, hub) as node:
        chain = node.create_chain("notes")
        made = [chain.invite(uses=1000) for _ in range(40)]
        for invitation in made:
            make_old(chain, invitation)
        for invitation in made:  # as uses were counted: rows grow over pages, and move
            (record,) = [record for record in chain.invitations() if record.id == invitation.id]
            many = frozenset(n.to_bytes(32, "big") for n in range(1, 60))
            old = [1, record.id, seed_of(invitation), 1000, None, True, False, sorted(many)]
            chain.tables.put(f"invite/{record.id.hex()}", cbor.encode(old))  # type: ignore[arg-type]
            make_old(chain, invitation)
        return made


def test_seeds_of_an_old_directory_are_moved(tmp_path: Path, hub: MemoryHub, other: Node) -> None:
    """I27: out of the rows, the free pages and the log; and the invitations go on working, as they were."""
    made = an_old_directory(tmp_path, hub)
    found = in_clear(tmp_path, map(seed_of, made))
    assert len(found) == len(made), "the scan sees them in the database"
    assert seeds(tmp_path) == set()
    with open_node(tmp_path, hub) as node:
        node.addresses()
        assert {name.split("/")[0] for name in in_clear(tmp_path, map(seed_of, made))} == {"keys"}
        assert seeds(tmp_path) == ids_of(*made)
        assert lets_in(made[7], other)
        assert all(record.uses == 1000 for record in node.chain("notes").invitations())
    assert {name.split("/")[0] for name in in_clear(tmp_path, map(seed_of, made))} == {"keys"}


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 5, 39])
@pytest.mark.parametrize("what", [(FileKeys, "put"), (ChainSecrets, "note_traces"), (Database, "scrub")], ids=repr)
def test_a_crash_while_seeds_are_moved(
    tmp_path: Path, hub: MemoryHub, other: Node, what: tuple[type, str], at: int
) -> None:
    """I27: whatever was cut off, the next opening ends it: no seed is lost, none stays in the database."""
    made = an_old_directory(tmp_path, hub)
    real, calls = getattr(*what), 0

    def failing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > at or what[1] == "scrub":
            raise StorageError("the disk refuses")
        return real(*arguments)

    with patch.object(*what, failing), open_node(tmp_path, hub) as node:
        assert len(node.chain("notes").invitations()) == len(made)
    with open_node(tmp_path, hub) as node:
        node.addresses()
        assert seeds(tmp_path) == ids_of(*made)
        assert lets_in(made[at], other)
    assert {name.split("/")[0] for name in in_clear(tmp_path, map(seed_of, made))} == {"keys"}


def test_an_old_record_that_has_ended_is_moved_nowhere(tmp_path: Path, hub: MemoryHub) -> None:
    with open_node(tmp_path, hub) as node:
        chain = node.create_chain("notes")
        ended = chain.invite()
        chain.revoke(ended)
        make_old(chain, ended)
    assert in_clear(tmp_path, [seed_of(ended)])
    open_node(tmp_path, hub).close()
    assert in_clear(tmp_path, [seed_of(ended)]) == []
    assert seeds(tmp_path) == set()
