"""What a plain IPFS daemon, with no node of ours behind it, can have of a chain: all of a public one, nothing of a secret one."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.suites.kubo_daemon import Daemon, KuboError
from tests.suites.mixed import Kind, Settle, cids_of, digests_in, settling, until_kept
from tests.suites.nodes import WITHIN_S, Crew, assert_sound, join, until, until_same
from walytis_core import Block, Chain, Cid, Limits

pytestmark = [pytest.mark.kubo, pytest.mark.libp2p]

of_both_kinds = pytest.mark.parametrize("kind", ["embedded", "kubo"])
made_or_joined = pytest.mark.parametrize("joined", [False, True], ids=["made", "joined"])
LONG = [Limits.max_payload_bytes + 1, 2_000_000]


@pytest.fixture
def settle(tmp_path: Path, kubo: Callable[..., Daemon]) -> Iterator[Settle]:
    with settling(tmp_path, kubo) as settle:
        yield settle


@pytest.fixture
def plain(kubo: Callable[..., Daemon]) -> Daemon:
    """A daemon as people run it: without pubsub and stream mounting."""
    return kubo(pubsub=False, streams=False)


# --- headers, as `ipfs dag get` prints them (DAG-JSON) ---------------------------------------------------------------


def link(id: Cid | None) -> dict[str, str] | None:
    return None if id is None else {"/": str(id)}


def data(value: bytes) -> dict[str, dict[str, str]]:
    return {"/": {"bytes": base64.b64encode(value).decode().rstrip("=")}}


def header(block: Block) -> list[Any]:
    """The header of a block, as docs/spec/block.md lays it out."""
    payload = block.body if isinstance(block.body, bytes) else None
    return [
        1,
        link(block.chain),
        data(block.author),
        block.seq,
        link(block.prev),
        [link(parent) for parent in block.parents],
        block.height,
        block.time_ms,
        block.type,
        list(block.topics),
        data(payload) if payload is not None else [link(block.content.link), block.content.size],  # type: ignore[union-attr]
        {key: data(value) for key, value in block.ext.items()},
    ]


def walk(daemon: Daemon, heads: list[Cid]) -> dict[str, list[Any]]:
    """Every header from some blocks down to the genesis, by following links with `ipfs dag get`."""
    found: dict[str, list[Any]] = {}
    ahead = [str(head) for head in heads]
    while ahead:
        cid = ahead.pop()
        if cid in found:
            continue
        found[cid], signature = daemon.json("dag", "get", "--timeout=20s", cid)
        assert len(signature["/"]["bytes"]) == 86  # 64 bytes in base64
        _, _, _, _, prev, parents, *_ = found[cid]
        ahead += [named["/"] for named in ([prev] if prev else []) + parents]
    return found


def branched(chain: Chain, copy: Chain) -> None:
    """Two writers, blocks with topics, a type and extensions, and one that merges."""
    chain.append(b"first", topics=["greeting", "\u00fcber"], type="app/note", ext={"k": b"\x00v"})
    copy.append(b"\xff\x00", topics=["other"])
    until_same(chain, copy, count=2)
    for writer in (chain, copy):
        writer.append(b"again")
    until_same(chain, copy, count=4)
    chain.append(random.Random(1).randbytes(LONG[0]), topics=["long"])
    until_same(chain, copy, count=5)


@of_both_kinds
def test_it_walks_a_public_chain(settle: Settle, plain: Daemon, kind: Kind) -> None:
    """C44: connected to one of its nodes, it fetches every block by CID and sees the headers as they were signed."""
    one, other = settle(kind), settle("embedded")
    chain = one.node.create_chain("notes", readers="everyone")
    copy = join(other.node, chain)
    branched(chain, copy)
    other.close()
    if kind == "kubo":
        until_kept(one.daemon, cids_of(chain))
    plain.connect(one.node.addresses())
    found = walk(plain, list(chain.heads))
    genesis = found.pop(str(chain.id))
    assert genesis[1] is None
    assert genesis[6] == 0
    assert found == {str(block.id): header(block) for block in chain.blocks()}
    for block in chain.blocks():
        assert plain.ipfs_bytes("block", "get", "--offline", str(block.id)) == block.encoded


def test_a_copy_in_a_daemon_is_whole_without_its_node(settle: Settle, plain: Daemon) -> None:
    """C44: who joined a public chain by Kubo has others walk it, though its author and both nodes are gone."""
    author, holder = settle("embedded"), settle("kubo")
    chain = author.node.create_chain("notes", readers="everyone")
    copy = join(holder.node, chain)
    branched(chain, copy)
    blocks = {str(block.id): header(block) for block in chain.blocks()}
    until_kept(holder.daemon, cids_of(chain, [block for block in chain.blocks() if block.content is None]))
    until_kept(holder.daemon, chain.heads)
    heads = list(chain.heads)
    holder.close()
    author.close()
    plain.connect(holder.daemon.addresses)
    assert walk(plain, heads).keys() == blocks.keys() | {str(chain.id)}


@of_both_kinds
@pytest.mark.parametrize("size", LONG)
def test_it_cats_long_content(settle: Settle, plain: Daemon, kind: Kind, size: int) -> None:
    """C50: `ipfs cat` of a content link gives the same bytes, from the node that wrote it."""
    one = settle(kind)
    chain = one.node.create_chain("notes", readers="everyone")
    payload = random.Random(size).randbytes(size)
    block = chain.append(payload)
    assert block.content is not None
    plain.connect(one.node.addresses())
    if kind == "kubo":
        until_kept(one.daemon, cids_of(chain))
        assert one.daemon.ipfs_bytes("cat", "--offline", str(block.content.link)) == payload
    assert plain.ipfs_bytes("cat", "--timeout=20s", str(block.content.link)) == payload


def test_content_that_was_fetched_is_in_the_daemon(settle: Settle) -> None:
    """C50: long content that a Kubo-backed node fetched from its author can be had from the daemon, too."""
    author, holder = settle("embedded"), settle("kubo")
    chain = author.node.create_chain("notes", readers="everyone")
    copy = join(holder.node, chain)
    payload = random.Random(3).randbytes(700_000)
    block = chain.append(payload)
    assert block.content is not None
    until(lambda: block.id in copy)
    copy.fetch(copy.block(block.id)).result(WITHIN_S)
    until_kept(holder.daemon, cids_of(copy))
    assert holder.daemon.ipfs_bytes("cat", "--offline", str(block.content.link)) == payload


@of_both_kinds
def test_content_comes_back_from_it(settle: Settle, plain: Daemon, kind: Kind) -> None:
    """C50: content that every node of the chain has dropped is fetched by CID from a stranger who has it."""
    one = settle(kind)
    chain = one.node.create_chain("notes", readers="everyone")
    payload = random.Random(4).randbytes(700_000)
    block = chain.append(payload)
    assert block.content is not None
    plain.ipfs("add", "--cid-version=1", "--raw-leaves", "--chunker=size-262144", data=payload)
    assert plain.has(block.content.link), "Kubo cuts the file as we do"
    if kind == "kubo":
        until_kept(one.daemon, cids_of(chain))
        chain.drop_content(block)
        until(lambda: str(block.content.link) not in one.daemon.pins(), what="its copies are not pinned any more")  # type: ignore[union-attr]
        one.daemon.ipfs("repo", "gc")
        assert not one.daemon.has(block.content.link)
    else:
        chain.drop_content(block)
    assert not chain.has_content(block)
    one.node.connect(plain.addresses).result(WITHIN_S)
    assert chain.fetch(block).result(WITHIN_S).payload == payload
    assert_sound(chain)


# --- secret chains ---------------------------------------------------------------------------------------------------


def refused(daemon: Daemon, cid: Cid) -> None:
    """Asserts that a block cannot be had from anyone the daemon is connected to."""
    with pytest.raises(KuboError):
        daemon.ipfs_bytes("block", "get", "--timeout=2s", str(cid))


@of_both_kinds
@made_or_joined
def test_it_gets_nothing_of_a_secret_chain(settle: Settle, plain: Daemon, kind: Kind, joined: bool) -> None:
    """C44, C42: neither by bitswap nor out of the node's daemon, though it names every block; a public one it gets."""
    one, other = settle(kind), settle("embedded")
    secret = (other if joined else one).node.create_chain("secret")
    copy = join((one if joined else other).node, secret)
    for chain in (secret, copy):
        chain.append(b"in secret")
        chain.append(random.Random(len(chain)).randbytes(LONG[1] // 4))
    until_same(secret, copy, count=4)
    for chain in (secret, copy):
        for block in chain.blocks():
            chain.fetch(block).result(WITHIN_S)
    public = one.node.create_chain("public", readers="everyone")
    told = public.append(b"for all")
    if kind == "kubo":
        until_kept(one.daemon, [told.id])  # what came before it had its turn
    plain.connect(one.node.addresses())
    assert plain.ipfs_bytes("block", "get", "--timeout=20s", str(told.id)) == told.encoded
    hidden = cids_of(secret)
    assert len(hidden) > 8
    crew = Crew()
    for cid in [*hidden[:4], *hidden[-4:]]:
        crew.start(partial(refused, plain, cid))
    crew.join()
    daemons = [plain, one.daemon] if kind == "kubo" else [plain]
    for daemon in daemons:
        assert told.id[4:] in digests_in(daemon)
        assert not {cid[4:] for cid in hidden} & digests_in(daemon)
        assert not {str(cid) for cid in hidden} & daemon.pins()


# --- pins ------------------------------------------------------------------------------------------------------------


@made_or_joined
def test_own_blocks_are_pinned(settle: Settle, plain: Daemon, joined: bool) -> None:
    """C44: what a node wrote, and the genesis, stay in its daemon through a garbage collection, and go with the chain."""
    one, other = settle("kubo"), settle("embedded")
    daemon = one.daemon
    before = daemon.pins()
    made = (other if joined else one).node.create_chain("notes", readers="everyone")
    copied = join((one if joined else other).node, made)
    chain, copy = (copied, made) if joined else (made, copied)
    chain.append_many([b"0", b"1", random.Random(5).randbytes(LONG[1] // 4)])
    until_same(chain, copy, count=3)
    copy.append(b"not mine")
    until_same(chain, copy, count=4)
    until_kept(daemon, cids_of(chain))  # those of others, too
    own = cids_of(chain, chain.blocks(author=chain.author))
    assert len(own) > 3
    assert daemon.pins() == before | {str(cid) for cid in (chain.id, *own)}
    daemon.ipfs("repo", "gc")
    assert all(daemon.has(cid) for cid in (chain.id, *own))
    plain.connect(daemon.addresses)
    assert plain.ipfs("block", "stat", "--timeout=20s", str(own[-1]))
    one.node.delete_chain(chain)
    until(lambda: daemon.pins() == before, what="the pins of the chain are gone")
    daemon.ipfs("repo", "gc")
    assert not any(daemon.has(cid) for cid in (chain.id, *own))


def test_a_chain_deleted_while_the_daemon_is_away(settle: Settle) -> None:
    """C44, C37: its pins go when the daemon is back; those of another chain stay."""
    one = settle("kubo")
    daemon = one.daemon
    before = daemon.pins()
    kept, gone = (one.node.create_chain(name, readers="everyone") for name in ("kept", "gone"))
    for chain in (kept, gone):
        chain.append(b"mine")
        until_kept(daemon, cids_of(chain))
    daemon.stop()
    one.node.delete_chain(gone)
    daemon.start()
    mine = {str(cid) for cid in cids_of(kept)}
    until(lambda: daemon.pins() == before | mine, what="the pins of the deleted chain are gone")
    assert mine <= daemon.pins()


def test_what_was_written_without_the_daemon_is_kept_later(settle: Settle) -> None:
    """C37: blocks of a node that ran without its daemon are put and pinned when both run again."""
    one = settle("kubo")
    chain = one.node.create_chain("notes", readers="everyone")
    until_kept(one.daemon, [chain.id])
    one.daemon.kill()
    chain.append_many([b"%d" % number for number in range(300)])
    one.close()
    one.daemon.start()
    chain = one.node.chain("notes")
    wanted = {str(cid) for cid in cids_of(chain)}
    until(lambda: wanted <= one.daemon.pins(), what="all are pinned")
    assert one.daemon.ipfs("dag", "get", "--offline", str(chain.heads[0]))
