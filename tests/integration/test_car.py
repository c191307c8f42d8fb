"""Chains in files: through the command, through processes that are killed, and to and from a real IPFS daemon."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from frontends.offline import Offline
from tests.suites.command import WAIT_S, answer, environment, failure, running, started, walytis
from tests.suites.kubo_daemon import Daemon
from tests.suites.making import ALICE, MALLORY, World
from tests.suites.nodes import assert_sound, ids, until
from walytis_core import Chain, MemoryHub, Node
from walytis_core.car import write_header, write_section
from walytis_core.errors import InvalidInputError, NotAllowedError, UnavailableError
from walytis_core.network import MemoryNetwork
from walytis_core.signer import Ed25519Signer

pytestmark = pytest.mark.slow


# --- a real daemon ------------------------------------------------------------------------------------------------


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.in_memory() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Node]:
    with Node.in_memory() as one:
        yield one


@pytest.fixture
def chain(node: Node) -> Chain:
    """A chain with two heads, and content of one leaf and of several."""
    chain = node.create_chain("notes", readers="everyone")
    chain.append(b"short", topics=["a", "b"], type="app/note", ext={"k": b"v"})
    chain.append(bytes(range(256)) * 200)
    chain.append(random.Random(1).randbytes(800_000), topics=["long"])
    return chain


@pytest.mark.kubo
def test_kubo_reads_what_we_write(chain: Chain, tmp_path: Path, kubo: Callable[..., Daemon]):
    """C45, C50: `dag import` takes the file, `dag get` shows headers, `cat` of a content link gives the bytes."""
    report = chain.export(tmp_path / "notes.car")
    daemon = kubo()
    told = daemon.ipfs("dag", "import", str(report.path))
    assert str(report.roots[0]) in told
    assert "success" in told
    genesis = daemon.json("dag", "get", str(chain.id))
    assert genesis[0][1] is None
    for block in chain.blocks():
        assert daemon.ipfs_bytes("block", "get", str(block.id)) == block.encoded
        header, _signature = daemon.json("dag", "get", str(block.id))
        assert header[0] == 1
        assert header[1] == {"/": str(chain.id)}
        assert header[3] == block.seq
        assert header[4] == {"/": str(block.prev)}
        assert header[6:10] == [block.height, block.time_ms, block.type, list(block.topics)]
        if block.content is not None:
            assert header[10] == [{"/": str(block.content.link)}, block.content.size]
            assert daemon.ipfs_bytes("cat", str(block.content.link)) == block.payload
    assert daemon.json("dag", "get", f"{chain.heads[0]}/0/9") == ["long"], "paths lead through a block"


@pytest.mark.kubo
def test_we_read_what_kubo_writes(chain: Chain, other: Node, tmp_path: Path, kubo: Callable[..., Daemon]):
    """C45: `dag export` of a head, from a daemon that took our file, is the chain with all its content."""
    daemon = kubo()
    daemon.ipfs("dag", "import", str(chain.export(tmp_path / "ours.car").path))
    (head,) = chain.heads
    theirs = daemon.ipfs_bytes("dag", "export", str(head))
    (tmp_path / "theirs.car").write_bytes(theirs)
    copy = other.import_chain(tmp_path / "theirs.car")
    assert copy.name == "theirs"
    assert ids(copy) == ids(chain)
    assert [block.payload for block in copy.linear()] == [block.payload for block in chain.linear()]
    assert_sound(copy)
    (tmp_path / "cut.car").write_bytes(theirs[: len(theirs) // 2])
    with pytest.raises(ValueError, match="too early"):
        other.import_chain(tmp_path / "cut.car")


@pytest.mark.kubo
def test_kubo_writes_one_of_several_heads(node: Node, tmp_path: Path, kubo: Callable[..., Daemon]):
    """C45, C12: the files of two heads, one after another, are the whole chain."""
    world = World()
    left = world.chain(MALLORY, 30)
    right = [world.block(ALICE, None, [left[3]], b"right")]
    right += world.chain(ALICE, 29, right[0])
    blocks = [world.first, *left, *right]
    data = write_header([left[-1].id, right[-1].id]) + b"".join(write_section(b.id, b.encoded) for b in blocks)
    (tmp_path / "both.car").write_bytes(data)
    daemon = kubo()
    daemon.ipfs("dag", "import", str(tmp_path / "both.car"))
    for head in (left[-1], right[-1]):
        (tmp_path / "one.car").write_bytes(daemon.ipfs_bytes("dag", "export", str(head.id)))
        assert head.id in node.import_chain(tmp_path / "one.car", name="one").heads
    (chain,) = node.chains()
    assert set(chain.heads) == {left[-1].id, right[-1].id}
    assert len(chain) == 60
    assert_sound(chain)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    """Two data directories; the first has a public chain of two blocks."""
    alice, bob = tmp_path / "alice" / "data", tmp_path / "bob" / "data"
    for home in (alice, bob):
        home.parent.mkdir()
    answer(alice, "create", "notes", "--readers", "everyone")
    answer(alice, "append", "notes", "first")
    answer(alice, "append", "notes", stdin=bytes(range(256)) * 200)
    return alice, bob


def test_the_commands(homes: tuple[Path, Path], tmp_path: Path):
    """C45: `walytis export` and `import`, in a directory that they open themselves."""
    alice, bob = homes
    file = tmp_path / "out.car"
    made = answer(alice, "export", "notes", str(file))
    assert (made["event"], made["name"], made["blocks"], made["pieces"]) == ("exported", "notes", 2, 1)
    assert made["file"] == str(file)
    assert made["size"] == file.stat().st_size
    told = failure(alice, "export", "notes", str(file))
    assert (told["error"], told["exit_code"]) == ("InvalidInputError", 2)
    assert "--force" in told["hint"]
    shown = walytis(alice, "export", "notes", str(file), "--force")
    assert b"Wrote 2 blocks and 1 piece of content" in shown.stdout
    assert shown.stderr == b""
    taken = answer(bob, "import", str(file), "--name", "theirs")
    assert (taken["name"], taken["blocks"], taken["new_blocks"], taken["new_chain"]) == ("theirs", 2, 2, True)
    answer(alice, "append", "notes", "third")
    answer(alice, "export", "notes", str(file), "--force")
    again = answer(bob, "import", str(file))
    assert (again["name"], again["blocks"], again["new_blocks"], again["new_chain"]) == ("theirs", 3, 1, False)
    assert b"theirs: no new blocks." in walytis(bob, "import", str(file)).stdout
    told = failure(bob, "import", str(file), "--name", "mine")
    assert f"`walytis rename theirs mine --data-dir {bob}`" in told["hint"]
    assert answer(bob, "rename", "theirs", "mine")["name"] == "mine"
    assert answer(bob, "import", str(file), "--name", "mine")["new_blocks"] == 0
    assert answer(bob, "verify")["ok"] is True


def test_a_file_of_a_chain_that_not_everyone_may_read(homes: tuple[Path, Path], tmp_path: Path):
    """C45: the command says that the file is in the clear, in JSON by naming the readers."""
    alice, _ = homes
    answer(alice, "create", "diary")
    told = walytis(alice, "export", "diary", str(tmp_path / "diary.car"))
    assert told.returncode == 0
    assert b"in the clear" in told.stderr
    for chain, readers in (("notes", "everyone"), ("diary", "secret")):
        assert answer(alice, "export", chain, str(tmp_path / f"{chain}-2.car"))["readers"] == readers


def test_a_pipe_is_no_file(homes: tuple[Path, Path]):
    """C45: - is not the name of one."""
    alice, bob = homes
    for home, arguments in ((alice, ["export", "notes", "-"]), (bob, ["import", "-"])):
        told = failure(home, *arguments)
        assert (told["error"], told["exit_code"]) == ("UsageError", 2)
        assert "./-" in told["hint"]
    assert not bob.exists()


@pytest.mark.parametrize("is_held", [False, True])
def test_an_import_that_is_stopped_says_what_it_leaves(tmp_path: Path, is_held: bool):
    """C45: by Ctrl-C: of a new chain nothing is here, of one that was, what there was; and that is said."""
    world = World()
    line = world.chain(MALLORY, 5000)
    for name, blocks in (("few", line[:10]), ("in", line)):
        data = write_header([blocks[-1].id]) + b"".join(write_section(b.id, b.encoded) for b in (world.first, *blocks))
        (tmp_path / f"{name}.car").write_bytes(data)
    directory = tmp_path / "home" / "data"
    directory.parent.mkdir()
    if is_held:
        answer(directory, "import", str(tmp_path / "few.car"))
    with started(directory, "import", str(tmp_path / "in.car")) as process:
        until(lambda: reads(process.pid, tmp_path / "in.car"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"Stopped.")
    assert directory.exists() is is_held
    if is_held:
        assert answer(directory, "list")["chains"][0]["blocks"] >= 10


def reads(pid: int, file: Path) -> bool:
    """Whether a process has a file open."""
    return str(file) in [opened.path for opened in psutil.Process(pid).open_files()]


def test_the_commands_through_a_node_that_runs(homes: tuple[Path, Path], tmp_path: Path):
    """C45, C48: the same answers through the local socket; paths are those of whoever calls."""
    alice, bob = homes
    with running(alice), running(bob):
        for home, arguments in ((alice, ["export", "notes", "rel.car"]), (bob, ["import", "rel.car", "--name", "n"])):
            command = [sys.executable, "-c", "from frontends.cli import main; main()", *arguments]
            done = subprocess.run(
                [*command, "--data-dir", str(home), "--json"], cwd=tmp_path, env=environment(home.parent),
                capture_output=True, timeout=WAIT_S, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr.decode()
            assert json.loads(done.stdout)["blocks"] == 2
        assert (tmp_path / "rel.car").exists()
        (tmp_path / "rel.car").write_bytes((tmp_path / "rel.car").read_bytes()[:-5])
        told = failure(bob, "import", str(tmp_path / "rel.car"))
        assert (told["error"], told["exit_code"]) == ("InvalidInputError", 2)


def test_a_command_that_fails_leaves_no_directory(homes: tuple[Path, Path], tmp_path: Path):
    """C45: no file, a bad file, a chain whose secret is not here: there is no node where there was none."""
    alice, bob = homes
    assert failure(bob, "import", str(tmp_path / "nothing.car"))["exit_code"] == 3
    assert not bob.exists()
    (tmp_path / "bad.car").write_bytes(b"rubbish" * 100)
    assert failure(bob, "import", str(tmp_path / "bad.car"))["exit_code"] == 2
    assert not bob.exists()
    answer(alice, "create", "secret")
    answer(alice, "export", "secret", str(tmp_path / "secret.car"))
    told = failure(bob, "import", str(tmp_path / "secret.car"))
    assert (told["error"], told["exit_code"]) == ("NotAllowedError", 3)
    assert "Join it first" in told["hint"]
    assert not bob.exists()


# --- kill -9 ------------------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from frontends.offline import Offline
from walytis_core import Node

def tell(done, total):
    if done >= float(sys.argv[3]) * total:
        os.kill(os.getpid(), signal.SIGKILL)

with Node.open(sys.argv[1], network=Offline()) as node:
    if sys.argv[2].endswith("out.car"):
        node.chain("notes").export(sys.argv[2], progress=tell)
    else:
        node.import_chain(sys.argv[2], progress=tell)
"""


def killed(directory: Path, file: Path, share: float) -> None:
    command = [sys.executable, "-c", CHILD, str(directory), str(file), str(share)]
    done = subprocess.run(command, env=environment(directory.parent), timeout=WAIT_S, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.crash
@pytest.mark.parametrize("share", [0.2, 0.55, 0.65, 0.9, 1.0])
def test_an_import_that_is_killed(tmp_path: Path, share: float):
    """C24, C45: what is there at the next opening is no chain, or a valid one; importing again brings the rest."""
    world = World()
    line = world.chain(MALLORY, 3000)
    data = write_header([line[-1].id]) + b"".join(write_section(b.id, b.encoded) for b in (world.first, *line))
    (tmp_path / "in.car").write_bytes(data)
    directory = tmp_path / "data"
    killed(directory, tmp_path / "in.car", share)
    with Node.open(directory, network=Offline()) as node:
        assert not node.damaged()
        for chain in node.chains():
            assert_sound(chain)
        assert bool(node.chains()) is (share > 0.6)
        chain = node.import_chain(tmp_path / "in.car")
        assert len(chain) == 3000
        assert_sound(chain)


@pytest.mark.crash
def test_an_export_that_is_killed(tmp_path: Path):
    """C45: there is no file by that name, and what was begun is in nobody's way."""
    directory = tmp_path / "data"
    with Node.open(directory, network=Offline()) as node:
        node.create_chain("notes").append_many([b"%d" % number for number in range(2000)])
    killed(directory, tmp_path / "out.car", 0.5)
    assert not (tmp_path / "out.car").exists()
    assert [path.suffix for path in tmp_path.iterdir() if path.name != "data"] == [".part"]
    with Node.open(directory, network=Offline()) as node:
        assert node.chain("notes").export(tmp_path / "out.car").blocks == 2000


def test_an_imported_chain_syncs_with_peers(tmp_path: Path):
    """C45, C13: after an import the chain meets its peers like any other."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.in_memory(hub) as bob:
        chain = alice.create_chain("notes", readers="everyone")
        chain.append_many([b"%d" % number for number in range(50)])
        chain.export(tmp_path / "notes.car")
        chain.append(b"later")
        copy = bob.import_chain(tmp_path / "notes.car")
        bob.connect(alice.addresses()).result(WAIT_S)
        until(lambda: ids(copy) == ids(chain))
        copy.append(b"from the other side")
        until(lambda: ids(copy) == ids(chain))
        assert len(chain) == 52
        assert_sound(chain)


def test_a_writer_that_is_admitted_after_the_import(tmp_path: Path):
    """C45, C09: on a chain of listed writers an imported copy writes once somebody has admitted its key, also when reopened."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.open(tmp_path / "b", network=MemoryNetwork(hub)) as bob:
        chain = alice.create_chain("notes", writers=[], readers="everyone")
        chain.append(b"x")
        chain.export(tmp_path / "notes.car")
        copy = bob.import_chain(tmp_path / "notes.car")
        with pytest.raises(NotAllowedError):
            copy.append(b"not yet")
        chain.admit(copy.author)
        bob.connect(alice.addresses()).result(WAIT_S)
        until(lambda: copy.status().writable is None)
        copy.append(b"from bob")
        until(lambda: len(chain) == 3)
    with Node.open(tmp_path / "b", network=MemoryNetwork(hub)) as bob:
        assert bob.chain(chain.id).append(b"again").seq == 1


@pytest.mark.parametrize("given", ["in the call", "at opening"])
def test_a_key_that_is_given_to_an_imported_chain(tmp_path: Path, given: str):
    """C27, C45: it may have written more than the file holds, so it writes only after a sync, whichever way it is given."""
    hub, signer = MemoryHub(), Ed25519Signer(bytes(range(32)))
    with Node.in_memory(hub) as bob:
        with Node.open(tmp_path / "lost", network=MemoryNetwork(hub)) as alice:
            chain = alice.create_chain("notes", writers=[], readers="everyone", signer=signer)
            chain.append(b"in the file")
            chain.export(tmp_path / "notes.car")
            chain.append(b"not in it")
            theirs = bob.join(str(chain.invite(write=False))).result(WAIT_S)
            until(lambda: len(theirs) == 2)
        with Node.open(tmp_path / "new", network=MemoryNetwork(MemoryHub())) as again:
            again.import_chain(tmp_path / "notes.car", signer=signer if given == "in the call" else None)
        with Node.open(tmp_path / "new", network=MemoryNetwork(hub), signers={chain.id: signer}) as again:
            copy = again.chain(chain.id)
            with pytest.raises(UnavailableError, match="after a sync"):
                copy.append(b"this would fork")
            again.connect(bob.addresses()).result(WAIT_S)
            until(lambda: copy.status().writable is None)
            assert copy.append(b"on top").seq == 3
            until(lambda: len(theirs) == 3)
        assert not theirs.equivocations()


def test_an_import_that_fails_takes_no_chain_of_others_away(tmp_path: Path):
    """C45: neither one that another import has given out, nor one that was written to meanwhile."""
    with Node.in_memory() as alice, Node.in_memory() as bob, Node.in_memory() as carol:
        chain = alice.create_chain("notes", readers="everyone")
        chain.append(b"x")
        chain.export(tmp_path / "notes.car")

        def stop_once_it_is_there(node: Node) -> None:
            if node.chains():
                node.chains()[0].append(b"mine")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            bob.import_chain(tmp_path / "notes.car", progress=lambda _done, _total: stop_once_it_is_there(bob))
        assert b"mine" in {block.payload for block in bob.chain(chain.id).blocks()}
        bob.import_chain(tmp_path / "notes.car")
        assert {block.payload for block in bob.chain(chain.id).blocks()} == {b"x", b"mine"}

        def stop() -> None:
            if carol.chains():
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            carol.import_chain(tmp_path / "notes.car", progress=lambda _done, _total: stop())
        assert not carol.chains()


def test_the_last_copy_of_a_chain(tmp_path: Path):
    """C27, C45: where nobody is left to ask, its owner says so, and writes on."""
    signer = Ed25519Signer(bytes(range(32)))
    with Node.in_memory() as alice:
        chain = alice.create_chain("notes", readers="everyone", signer=signer)
        chain.append(b"x")
        chain.export(tmp_path / "notes.car")
    with Node.in_memory() as again:
        copy = again.import_chain(tmp_path / "notes.car", signer=signer)
        with pytest.raises(UnavailableError):
            copy.append(b"y")
        copy.confirm_newest()
        assert copy.append(b"y").seq == 2


def test_an_import_within_an_import_is_refused(tmp_path: Path):
    """C45: a callback that waits for its own import would wait for ever."""
    with Node.in_memory() as alice, Node.in_memory() as bob:
        chain = alice.create_chain("notes", readers="everyone")
        chain.append_many([b"x"] * 600)
        chain.export(tmp_path / "notes.car")

        def nested(_done: int, _total: int) -> None:
            if bob.chains():
                bob.import_chain(tmp_path / "notes.car")

        with pytest.raises(InvalidInputError):
            bob.import_chain(tmp_path / "notes.car", progress=nested)
        assert not bob.chains()
        assert len(bob.import_chain(tmp_path / "notes.car")) == 600
