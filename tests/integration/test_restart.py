"""Directories: killed processes, flipped bits, full disks, copies, deleted chains, and who may open them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.node_child import Nursery, nursing
from tests.suites.nodes import WITHIN_S, assert_sound, ids, join, open_node, payloads, until, until_same
from walytis_core import (
    BlockId,
    Chain,
    Ed25519Signer,
    InUseError,
    Node,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from walytis_core.network import MemoryHub

DATABASE = "walytis.db"


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def peer(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


# --- kill -9 -----------------------------------------------------------------------------------------------------


def live_and_die(nursery: Nursery, directory: Path, rng: random.Random, lives: int) -> None:
    """Kills a node many times in one directory; after each death what was acknowledged is there, and all is sound."""
    acknowledged: set[BlockId] = set()
    handled = 0
    for _ in range(lives):
        lines = nursery.life(directory, rng.random() * 0.12)
        acknowledged |= {BlockId(bytes.fromhex(line[1])) for line in lines if line[0] == "block"}
        numbers = [int(line[1]) for line in lines if line[0] == "handled"]
        assert numbers == sorted(numbers), "a consumer's blocks came out of order"
        if numbers:
            assert numbers[0] >= handled, "an acknowledged block came again"
            assert numbers[0] <= handled + 1 or numbers[0] == min(numbers), "a block was skipped"
            handled = numbers[-1]
    with open_node(directory, MemoryHub()) as node:
        chain = node.chains()[0]
        assert acknowledged <= ids(chain)
        assert_sound(chain)
        for block in chain.blocks(topic="long"):
            assert len(block.payload) == 70_000
        after = chain.append(b"after")
        assert set(after.ancestors_named) <= ids(chain) | {chain.id}


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    """C22: kill -9 under concurrent appends loses nothing that was acknowledged (a short run)."""
    with nursing() as nursery:
        for number in range(2):
            live_and_die(nursery, tmp_path / str(number), random.Random(number), 5)


@pytest.mark.slow
@pytest.mark.crash
def test_two_hundred_kills(tmp_path: Path) -> None:
    """C22: 200 kills at random instants, under concurrent appends from several threads."""
    with nursing() as nursery:
        for number in range(10):
            live_and_die(nursery, tmp_path / str(number), random.Random(100 + number), 20)


# --- damage ------------------------------------------------------------------------------------------------------


def flip(directory: Path, needle: bytes) -> None:
    """Flips one bit within `needle` in the database file, everywhere it stands."""
    path = directory / DATABASE
    data = bytearray(path.read_bytes())
    at = data.find(needle)
    assert at >= 0
    while at >= 0:
        data[at + len(needle) // 2] ^= 4
        at = data.find(needle, at + 1)
    path.write_bytes(data)  # in place: not a copy


def test_a_flipped_bit_is_found_and_healed(tmp_path: Path, hub: MemoryHub, peer: Node) -> None:
    """C24: `verify` finds it, the block is set aside and fetched again from a peer."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        chain.append(b"before")
        victim = chain.append(b"the one payload that will be damaged on the disk")
        chain.append(b"after")
        copy = join(peer, chain)
        until_same(chain, copy, count=3)
    flip(tmp_path / "a", b"will be damaged")
    hub.cut(peer.peer_id)  # at first nobody is there
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        report = chain.verify()
        assert list(report.corrupt) == [victim.id]
        assert chain.status().corrupt == 1
        chain.append(b"still writable")
        assert b"after" in [block.payload for block in chain.blocks() if block.id != victim.id]
    hub2 = MemoryHub()
    with open_node(tmp_path / "a", hub2) as node:
        chain = node.chain("notes")
        assert chain.status().corrupt == 1
        with Node.in_memory(hub2):
            pass
    hub.enter(hub._ports[peer.peer_id]) if peer.peer_id not in hub._ports else hub._cut.discard(peer.peer_id)
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        until(chain.peers)
        until(lambda: chain.status().corrupt == 0)
        assert chain.block(victim.id) == victim
        until_same(chain, copy, count=4)
        assert_sound(chain)


def test_a_flipped_bit_with_the_peer_online(tmp_path: Path, hub: MemoryHub, peer: Node) -> None:
    """C24: with a peer there, `verify` alone mends it."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        victims = [chain.append(b"damage me %d, please" % number) for number in range(10)]
        copy = join(peer, chain)
        until_same(chain, copy, count=10)
    for number in range(0, 10, 2):
        flip(tmp_path / "a", b"me %d, please" % number)
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        until(chain.peers)
        assert set(chain.verify().corrupt) == {victim.id for victim in victims[::2]}
        until(lambda: chain.status().corrupt == 0)
        assert list(chain.blocks()) == victims
        assert_sound(chain)


def test_damaged_content_is_fetched_again(tmp_path: Path, hub: MemoryHub, peer: Node) -> None:
    """C24, C50: a bit of long content flips: it is never given out, and a fetch brings it back."""
    payload = random.Random(24).randbytes(600_000)
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        copy = join(peer, chain)
        block = chain.append(payload)
        until_same(chain, copy, count=1)
        copy.fetch(copy.block(block.id)).result(WITHIN_S)
    flip(tmp_path / "a", payload[300_000:300_050])
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        until(chain.peers)
        held = chain.block(block.id)
        with pytest.raises(UnavailableError):
            _ = held.payload
        assert chain.fetch(held).result(WITHIN_S).payload == payload
        assert held.payload == payload


# --- disks -------------------------------------------------------------------------------------------------------

_FULL_DISK = """
import json, os, resource, signal, sys, threading, time
from walytis_core import Node, StorageError
from walytis_core.network import MemoryHub, MemoryNetwork
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
said = {"acknowledged": [], "later": []}
hub = MemoryHub()
with Node.open(sys.argv[1], network=MemoryNetwork(hub)) as node, Node.in_memory(hub) as peer:
    chain = node.create_chain("notes")
    copy = peer.join(str(chain.invite())).result(10)
    feed = chain.follow(name="inbox")
    for number in range(20):
        said["acknowledged"].append(str(chain.append(bytes(1000)).id))
    spare = chain.invite(uses=5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "/walytis.db-wal") + 4096, hard))
    for size in (3000, 0, None):  # until not even an invitation fits
        refused = 0
        while refused < 6:
            try:
                if size is None:
                    chain.invite()
                else:
                    said["acknowledged"].append(str(chain.append(bytes(size)).id))
            except StorageError as error:
                refused += 1
                said["error"], said["hint"] = str(error), error.hint
    for call in (lambda: chain.append(bytes(400_000)), lambda: node.create_chain("more"), lambda: chain.invite()):
        try:
            call()
            said["took"] = True
        except StorageError:
            pass
    for number in range(30):
        copy.append(bytes(2000))  # the peer goes on; what it sends cannot be stored
    with Node.in_memory(hub) as third:
        try:
            third.join(str(spare)).result(2)
            said["joined"] = True
        except Exception as error:
            said["join"] = type(error).__name__
    said["network while full"] = node.stats.network
    said["readable"] = len([block for block in chain.blocks() if block.payload is not None])
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said["later"] = [str(chain.append(b"there is space again").id)]
    never, end = threading.Event(), time.monotonic() + 20
    while (len(chain) != len(copy) or chain.status().blocks < len(said["acknowledged"]) + 31) and time.monotonic() < end:
        copy.append(b"poke")
        never.wait(0.2)
    said["equal"] = {b.id for b in chain.blocks()} == {b.id for b in copy.blocks()}
    said["network"] = node.stats.network
    with Node.in_memory(hub) as third:
        said["third"] = len(third.join(str(spare)).result(20)) == len(chain)
print(json.dumps(said))
"""


def run_python(program: str, *arguments: str, timeout_s: float = 200) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, timeout=timeout_s,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, hub: MemoryHub) -> None:
    """C25: `StorageError`, nothing acknowledged is lost, the node lives on, and it recovers when space returns."""
    said = run_python(_FULL_DISK, str(tmp_path / "a"))
    assert said["hint"]
    assert "took" not in said
    assert said["network while full"] != "closed"
    assert said["readable"] == len(said["acknowledged"])  # type: ignore[arg-type]
    assert said["equal"]
    assert said["network"] == "up"
    assert said["third"]
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        held = {str(id) for id in ids(chain)}
        assert {*said["acknowledged"], *said["later"]} <= held  # type: ignore[misc]
        assert_sound(chain)


_READ_ONLY = """
import json, os, pathlib, shutil, tempfile, urllib.parse  # now: a Python of root's own cannot be read by others later
from walytis_core import Node, StorageError
from walytis_core.network import MemoryHub, MemoryNetwork
import walytis_core.store.sqlite

directory = pathlib.Path(tempfile.mkdtemp())
if os.geteuid() == 0:  # root may write everywhere
    os.chown(directory, 65534, 65534)
    os.setuid(65534)
open_node = lambda: Node.open(directory / "a", network=MemoryNetwork(MemoryHub()))
said = {"errors": []}
directory.chmod(0o500)
try:
    open_node()
except StorageError as error:
    said["errors"].append([str(error), error.hint])
directory.chmod(0o700)
with open_node() as node:
    node.create_chain("notes").append(b"1")
for path, mode in (("a", 0o500), ("a/walytis.db", 0o400), ("a/keys", 0o000), ("a/walytis.db", 0o000)):
    before = (directory / path).stat().st_mode
    (directory / path).chmod(mode)
    try:
        with open_node() as node:
            node.chain("notes").append(b"no")
        said["errors"].append(["took", path])
    except StorageError as error:
        said["errors"].append([str(error), error.hint])
    (directory / path).chmod(before & 0o777)
    for beside in (directory / "a").glob("walytis.db-*"):  # SQLite gives them the rights of the database
        beside.chmod(0o600)
with open_node() as node:
    said["payloads"] = [block.payload.decode() for block in node.chain("notes").blocks()]
    node.chain("notes").append(b"2")
shutil.rmtree(directory)
print(json.dumps(said))
"""


def test_a_read_only_directory() -> None:
    """C25: `StorageError` with a hint; and when it is writable again, it opens with everything in it."""
    said = run_python(_READ_ONLY)
    errors = said["errors"]
    assert isinstance(errors, list)
    assert all(hint for _, hint in errors)
    took = [path for text, path in errors if text == "took"]
    assert took in ([], ["a"])  # a directory whose files are all there needs no new ones
    assert said["payloads"] in (["1"], ["1", "no"])
    assert len(errors) == 5


@pytest.mark.parametrize("kind", ["a file", "a file above", "a damaged database", "another program's", "a directory"])
def test_a_directory_that_is_none(tmp_path: Path, kind: str) -> None:
    """C25: `StorageError` with a hint, and nothing of what is there is touched."""
    directory = tmp_path / "a"
    match kind:
        case "a file":
            directory.write_bytes(b"mine")
        case "a file above":
            (tmp_path / "file").write_bytes(b"mine")
            directory = tmp_path / "file" / "a"
        case "a damaged database":
            directory.mkdir()
            (directory / DATABASE).write_bytes(b"not a database" * 1000)
        case "another program's":
            directory.mkdir()
            with sqlite3.connect(directory / DATABASE) as connection:
                connection.execute("CREATE TABLE mine (a)")
            connection.close()
        case _:
            (directory / DATABASE).mkdir(parents=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            Node.open(directory)
        assert caught.value.hint
        assert str(caught.value)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


# --- locks and versions ------------------------------------------------------------------------------------------

_HOLD = """
import sys
from walytis_core import Node
from walytis_core.network import MemoryHub, MemoryNetwork
node = Node.open(sys.argv[1], network=MemoryNetwork(MemoryHub()))
chain = node.chains()[0] if node.chains() else node.create_chain("notes")
chain.append(b"held")
print("open", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path: Path, hub: MemoryHub) -> None:
    """C28: a second process gets `InUseError` at once; the lock of one that was killed is free."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        for _ in range(2):
            with pytest.raises(InUseError) as caught:
                open_node(tmp_path / "a", hub)
            assert caught.value.hint
            assert str(process.pid) in str(caught.value)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    with open_node(tmp_path / "a", hub) as node:
        assert payloads(node.chain("notes")) == [b"held"]
        with pytest.raises(InUseError):
            open_node(tmp_path / "a", hub)
        node.chain("notes").append(b"still mine")
    open_node(tmp_path / "a", hub).close()


def test_a_failed_opening_frees_the_directory(tmp_path: Path, hub: MemoryHub) -> None:
    """C28, C46: a node that could not be made leaves no lock, no thread and no open file."""
    with open_node(tmp_path / "a", hub) as node:
        node.create_chain("notes")
    key = tmp_path / "a" / "keys" / "node"
    good = key.read_bytes()
    for bad in (b"", good[:5], good + b"x"):
        key.write_bytes(bad)
        with pytest.raises(StorageError) as caught:
            open_node(tmp_path / "a", hub)
        assert "damaged" in str(caught.value)
        assert caught.value.hint
    key.write_bytes(good)
    with open_node(tmp_path / "a", hub) as node:
        assert node.chain("notes").name == "notes"


def test_a_newer_format_is_left_alone(tmp_path: Path, hub: MemoryHub) -> None:
    """C29: refused with a clear error, and left untouched."""
    with open_node(tmp_path / "a", hub) as node:
        node.create_chain("notes").append(b"1")
    connection = sqlite3.connect(tmp_path / "a" / DATABASE)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version={version + 1}")
    connection.close()
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(StorageError) as caught:
        open_node(tmp_path / "a", hub)
    assert str(version + 1) in str(caught.value)
    assert caught.value.hint
    after = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def test_files_are_the_owners_only(tmp_path: Path, hub: MemoryHub) -> None:
    """DESIGN 3.8: secrets are readable by their owner alone."""
    with open_node(tmp_path / "a", hub) as node:
        node.create_chain("notes").append(b"1")
        for path in [tmp_path / "a", *(tmp_path / "a").rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path.name


# --- deleting and copies -----------------------------------------------------------------------------------------


def test_delete_and_rejoin(tmp_path: Path, hub: MemoryHub, peer: Node) -> None:
    """C27: deleting removes data, keys and tasks; the chain can be joined again, and nobody equivocates by it."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        with Node.in_memory(hub) as keeper:
            kept = join(keeper, chain)
            authors = set()
            for turn in range(4):
                block = chain.append(b"the text of turn %d" % turn)
                authors.add(block.author)
                until_same(chain, kept, count=turn + 1)
                node.delete_chain(chain)
                with pytest.raises(NotFoundError):
                    node.chain("notes")
                assert not [path for path in (tmp_path / "a" / "keys").iterdir() if str(kept.id) in path.name]
                chain = node.join(str(kept.invite())).result(WITHIN_S)
                assert len(chain) == turn + 1
            assert len(authors) == 4
            assert_sound(kept)
            assert not kept.equivocations()
            node.delete_chain("notes")
            assert kept.append(b"goes on")
    data = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert str(kept.id).encode() not in data
    with open_node(tmp_path / "a", hub) as node:
        assert node.chains() == []


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("synced", [True, False])
def test_a_restored_copy_does_not_fork(tmp_path: Path, hub: MemoryHub, peer: Node, synced: bool) -> None:
    """C27: a directory restored from an old copy writes with a fresh key: no fork, before a sync or after."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        copy = join(peer, chain)
        chain.append(b"in the copy")
        until_same(chain, copy, count=1)
    copied(tmp_path / "a", tmp_path / "copy")
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        first = chain.author
        chain.append(b"after the copy was made")
        until_same(chain, copy, count=2)
    other = hub if synced else MemoryHub()
    with open_node(tmp_path / "copy", other) as node:
        chain = node.chain("notes")
        if synced:
            until_same(chain, copy, count=2)
        block = chain.append(b"by the copy")
        assert block.author != first
    with open_node(tmp_path / "copy", hub) as node:
        chain = node.chain("notes")
        assert chain.author == block.author, "the key is replaced once"
        until_same(chain, copy, count=3)
        chain.append(b"again")
        until_same(chain, copy, count=4)
        assert_sound(chain)
        assert_sound(copy)
        assert not copy.equivocations()


def test_a_copy_put_back_in_place(tmp_path: Path, hub: MemoryHub, peer: Node) -> None:
    """C27: restored over the old file (same inode): peers hold newer own blocks, so after the sync the key is replaced."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        copy = join(peer, chain)
        chain.append(b"1")
        until_same(chain, copy, count=1)
    old = (tmp_path / "a" / DATABASE).read_bytes()
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        first = chain.author
        chain.append(b"2")
        until_same(chain, copy, count=2)
    with (tmp_path / "a" / DATABASE).open("r+b") as file:
        file.write(old)
        file.truncate()
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        until_same(chain, copy, count=2)
        assert chain.append(b"3").author != first
        until_same(chain, copy, count=3)
        assert not copy.equivocations()
        assert_sound(copy)


def test_a_copy_of_a_listed_writer_waits(tmp_path: Path, hub: MemoryHub, peer: Node) -> None:
    """C27: a listed key cannot be replaced: `UnavailableError` before a sync, and no fork after."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes", writers=[])
        copy = join(peer, chain)
        admitted = copy.append(b"by the admitted")
        until_same(chain, copy)
    copied(tmp_path / "a", tmp_path / "copy")
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        chain.append(b"after the copy")
        until_same(chain, copy)
    with open_node(tmp_path / "copy", MemoryHub()) as node:
        chain = node.chain("notes")
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                chain.append(b"too early")
            assert caught.value.hint
        assert chain.status().writable
    with open_node(tmp_path / "copy", hub) as node:
        chain = node.chain("notes")
        until(lambda: chain.status().writable is None)
        chain.append(b"after a sync")
        until_same(chain, copy)
        assert not copy.equivocations()
        assert_sound(copy)
    assert admitted.id in ids(copy)


def test_a_given_signer_waits_for_its_first_sync(hub: MemoryHub, peer: Node) -> None:
    """C27: a key that was given may have written elsewhere: it appends only after a first sync, and goes on from there."""
    signer = Ed25519Signer(bytes(range(32)))
    with Node.in_memory(hub) as home:
        chain = home.create_chain("notes")
        with Node.in_memory(hub) as one:
            mine = one.join(str(chain.invite()), signer=signer).result(WITHIN_S)
            mine.append(b"1")
            until_same(chain, mine, count=1)
        with Node.in_memory(hub) as two:
            mine = two.join(str(chain.invite()), signer=signer).result(WITHIN_S)
            until(lambda: mine.status().writable is None)
            second = mine.append(b"2")
            until_same(chain, mine, count=2)
        assert second.seq == 1
        assert not chain.equivocations()
        assert_sound(chain)


def test_reopening_keeps_everything(tmp_path: Path, hub: MemoryHub) -> None:
    """C23: names, authors, order, heads and cursors are the same after a restart (state only)."""
    seen: list[object] = []
    for turn in range(4):
        with open_node(tmp_path / "a", hub) as node:
            chain: Chain = node.chain("notes") if node.chains() else node.create_chain("notes")
            now = [
                node.signer.key,
                chain.id,
                chain.author,
                chain.heads,
                len(chain),
                chain.cursor(),
                list(chain.blocks()),
            ]
            assert turn == 0 or now == seen
            chain.append(b"%d" % turn)
            chain.append_many([b"x"] * 10, topics=["t"])
            seen = [
                node.signer.key,
                chain.id,
                chain.author,
                chain.heads,
                len(chain),
                chain.cursor(),
                list(chain.blocks()),
            ]
            assert_sound(chain)
