"""The public API as a user writes it, with the types that mypy must see. Checked, never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, assert_type

from walytis_core import (
    Arrived,
    Block,
    BlockId,
    Chain,
    ChainSecret,
    ChainStatus,
    Cid,
    Content,
    Ed25519Signer,
    Feed,
    FeedEvent,
    Invitation,
    InvitationRecord,
    InvitationUse,
    Members,
    Node,
    NodeStats,
    Obeyed,
    PeerInfo,
    Pending,
    Reason,
    RemoteError,
    Revised,
    Signer,
    Standing,
    Void,
    Wait,
    WalytisError,
)
from walytis_core.network import MemoryHub


def nodes(directory: Path) -> None:
    """Opening, closing, and what a node tells."""
    with Node.open(directory) as node:
        assert_type(node, Node)
        assert_type(node.stats, NodeStats)
        assert_type(node.addresses(), list[str])
        assert_type(node.peer_id, str)
        connecting = node.connect("/ip4/127.0.0.1/tcp/1")
        assert_type(connecting.result(5), str)
        assert_type(node.chains(), Sequence[Chain])
        assert_type(node.chain("notes"), Chain)
        assert_type(node.stats.refused, dict[str, int])
        node.rename("notes", "diary")
        node.delete_chain("diary")
    with Node.open("./text") as node, Node.in_memory(MemoryHub(), neighbours=2) as other:
        assert_type(other.signer.key, bytes)
        node.close()


def chains(node: Node) -> None:
    """Making, writing and reading chains."""
    signer: Signer = Ed25519Signer(bytes(32))
    assert_type(node.create_chain("a"), Chain)
    chain = node.create_chain("b", writers=[signer.key], readers="everyone", data=b"", signer=signer)
    block = chain.append(b"payload", topics=["t"], type="x/y", ext={"k": b"v"})
    assert_type(block, Block)
    with Path("file").open("rb") as file:
        assert_type(chain.append(file), Block)
    assert_type(chain.append_many([b"1", b"2"]), Sequence[Block])
    assert_type(chain.block(str(block.id)), Block)
    assert_type(chain.blocks(topic="t", newest_first=True, limit=10), Iterator[Block])
    assert_type(chain.blocks(since=chain.cursor(), after=datetime.now(UTC)), Iterator[Block])
    assert_type(chain.linear(), Iterator[Block])
    assert_type(chain.graph(), dict[BlockId, tuple[BlockId, ...]])
    assert_type(chain.heads, Sequence[BlockId])
    assert_type(len(chain) + chain.height, int)
    assert_type(block.id in chain, bool)
    assert_type(chain.peers(), Sequence[PeerInfo])
    assert_type(chain.status(), ChainStatus)
    assert_type(chain.status().refused, Mapping[str, int])
    assert_type(chain.standing(block.id), Standing)
    assert_type(chain.verify().corrupt, Sequence[BlockId])


def blocks(chain: Chain, block: Block) -> None:
    """What a block shows."""
    assert_type(block.payload, bytes)
    assert_type(block.topics, tuple[str, ...])
    assert_type(block.prev, BlockId | None)
    assert_type(block.parents, tuple[BlockId, ...])
    assert_type(block.time, datetime)
    assert_type(block.content, Content | None)
    assert_type(block.open(), BinaryIO)
    assert_type(chain.has_content(block), bool)
    assert_type(chain.fetch(block).result(timeout=5), Block)
    chain.drop_content(block)


class Circle:
    """The members of an identity."""

    def admits(self, did: str, node_key: bytes) -> bool:
        """Everybody."""
        return bool(did and node_key)

    def secrets(self, did: str) -> Sequence[ChainSecret]:
        """One for all."""
        return [ChainSecret(1, did.encode())]


def for_layers(node: Node, chain: Chain, signer: Signer) -> None:
    """What layers need beside blocks."""
    cid = chain.keep(b"bytes", readers="members")
    assert_type(cid, Cid)
    assert_type(chain.kept(cid), bytes | None)
    assert_type(chain.fetch_kept(cid).result(timeout=5), bytes)
    chain.let_have("members", {node.key})
    chain.forget_kept(cid, cid)
    assert_type(node.adopt(chain.genesis, name="other", addresses=node.addresses(), signer=signer), Chain)
    chain.write_with(signer, fresh=True)
    assert_type(chain.admit(signer.key), Block)
    members: Members = Circle()
    node.use_members(members)
    node.members_changed("did:walytis:...")
    Node.open("./members", members=members).close()


def invitations(node: Node, chain: Chain) -> None:
    """Inviting and joining."""
    invitation = chain.invite(uses=3, expires=timedelta(days=1), write=False)
    assert_type(invitation, Invitation)
    assert_type(str(invitation), str)
    assert_type(chain.invitations(), list[InvitationRecord])
    assert_type(chain.invitation_uses(), list[InvitationUse])
    chain.revoke(invitation)
    pending = node.join(str(invitation), name="mine")
    typed: Pending[Chain] = pending
    assert_type(typed.done(), bool)
    assert_type(pending.progress().held, int)
    assert_type(pending.cancel(), bool)
    assert_type(node.join(invitation).result(timeout=30), Chain)


def feeds(chain: Chain, after_idle: Callable[[Callable[[], None]], str]) -> None:
    """Following, in each way."""

    def handler(event: FeedEvent) -> None:
        match event:
            case Arrived(block, standing, number):
                assert_type(block, Block)
                assert_type(number, int)
                match standing:
                    case Obeyed():
                        event.ack()
                    case Void(reason):
                        event.reject(reason)
                    case Wait(chain=chain_id):
                        assert_type(chain_id, BlockId)
            case Revised(ids):
                assert_type(ids, Sequence[BlockId])

    assert_type(chain.follow(handler, name="inbox"), Feed)
    chain.follow(handler, via=after_idle)
    with chain.follow(name="loop", revisions=True) as feed:
        for event in feed:
            assert_type(event, FeedEvent)
        assert_type(feed.next(timeout=1.0), FeedEvent | None)


async def asynchronous(node: Node, chain: Chain, uri: str) -> None:
    """The same in asyncio."""
    assert_type(await node.join(uri), Chain)
    async for event in chain.follow(name="async"):
        assert_type(event, FeedEvent)
        event.ack()


def errors(error: WalytisError) -> None:
    """What an error tells."""
    assert_type(error.hint, str)
    if isinstance(error, RemoteError):
        assert_type(error.reason, Reason)


def mistakes(node: Node, chain: Chain) -> None:
    """What mypy must refuse: each `ignore` below is needed, or `warn_unused_ignores` says so."""
    chain.append("text")  # type: ignore[arg-type]
    chain.append(b"", topics=5)  # type: ignore[arg-type]
    node.create_chain("x", writers="everyone")  # type: ignore[arg-type]
    node.create_chain()  # type: ignore[call-arg]
    chain.blocks(after="yesterday")  # type: ignore[arg-type]
    chain.invite(expires=5)  # type: ignore[arg-type]
