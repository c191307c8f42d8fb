"""Hostile peers, byte by byte, over any transport: real libp2p by default.

A `Stranger` has a node key and a transport of its own, speaks the real protocols as far as a test wants, and then
anything else. Its loop runs in a thread, so that tests stay plain functions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from tests.suites.nodes import until
from walytis_core import Block, BlockId, Chain, Ed25519Signer, Node
from walytis_core.admission import JOIN_PROTOCOL
from walytis_core.block import Draft, Place, create, draft
from walytis_core.errors import RemoteError, UnavailableError
from walytis_core.handshake import ENTROPY_BYTES, Candidate, Ends, Initiator, Responder, Session
from walytis_core.loop import Loop
from walytis_core.messages import Message, decode, encode
from walytis_core.network import Network, Stream
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.policy import EVERYONE, SECRET
from walytis_core.seals import ChainKeys
from walytis_core.session import SYNC_PROTOCOL, Frames, open_as_initiator, open_as_responder

T = TypeVar("T")
WITHIN_S = 40.0
JOIN, SYNC = JOIN_PROTOCOL, SYNC_PROTOCOL


def keys_of(node: Node, chain: Chain) -> ChainKeys:
    """What a reader of the chain has; a hostile peer may be one."""
    if chain.policy.readers in (EVERYONE, SECRET):
        return ChainKeys(chain.id, node._secrets.secret(chain.id))
    until(lambda: chain.id in node._service.chains and node._service.chains[chain.id].keys)
    return node._service.chains[chain.id].keys[0]


async def served(node: Node, keys: ChainKeys) -> None:
    """Waits until a node answers for a chain that it has: one that was just made is soon on the network, not at once."""
    if keys.chain_id in {chain.id for chain in node.chains()}:
        while not is_served(node, keys.chain_id):  # noqa: ASYNC110 - another loop's state, which has no event here
            await trio.sleep(0.005)


def is_served(node: Node, chain: BlockId) -> bool:
    """Whether the chain is on the network."""
    service = node._service.chains.get(chain)
    return service is not None and service.is_running


class Wire:
    """An open sync session, for sending what no honest peer sends."""

    def __init__(self, frames: Frames, session: Session) -> None:
        self.frames = frames
        self.session = session

    async def send(self, *messages: Message) -> None:
        """Sends messages, sealed as they should be."""
        await self.send_sealed(*map(encode, messages))

    async def send_sealed(self, *contents: bytes) -> None:
        """Sends any bytes, sealed as they should be."""
        await self.frames.send(*map(self.session.send.seal, contents))

    async def receive(self) -> Message | None:
        """The peer's next message."""
        return decode(self.session.receive.open(await self.frames.receive()))

    async def receive_of(self, kind: type[T]) -> T:
        """The peer's next message of a kind; others are passed over."""
        while not isinstance(message := await self.receive(), kind):
            pass
        return message

    async def until_closed(self) -> None:
        """Reads until the peer ends the stream."""
        try:
            while True:
                await self.frames.receive()
        except (UnavailableError, RemoteError):
            return


class Stranger:
    """A peer that does what a test says.

    Args:
        network: Its transport; None for libp2p on loopback.
    """

    def __init__(self, network: Network | None = None) -> None:
        self.network = network or Libp2pNetwork()
        self.seed = os.urandom(32)
        self.signer = Ed25519Signer(self.seed)
        self._crash: BaseException | None = None
        self._up = threading.Event()
        self._loop = Loop(self._main, self._crashed)

    def __enter__(self) -> Self:
        self._loop.start()
        assert self._up.wait(WITHIN_S)
        assert self._crash is None, self._crash
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.stop()

    async def _main(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        async with self.network.running(self.seed):
            self._up.set()
            await trio.sleep_forever()

    def _crashed(self, error: BaseException) -> None:
        self._crash = error
        self._up.set()

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Runs an async function in the stranger's loop, bounded in time."""

        async def bounded() -> T:
            with trio.fail_after(WITHIN_S):
                return await function(*arguments)
            raise AssertionError

        return self._loop.call(bounded)

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens."""
        return self.network.addresses()

    async def connect(self, node: Node) -> str:
        """Connects to a node; its peer id."""
        return (await self.network.connect([f"{address}" for address in node._network.addresses()])).peer

    async def stream(self, node: Node, protocol: str = SYNC) -> Stream:
        """A raw stream to a node."""
        return await self.network.open_stream(await self.connect(node), protocol)

    async def open(self, node: Node, keys: ChainKeys) -> Wire:
        """A session as the protocol wants it. Raises `UnavailableError` when it is refused."""
        peer = await self.connect(node)
        await served(node, keys)
        frames = Frames(await self.network.open_stream(peer, SYNC))
        ends = Ends(self.network.peer_id, peer)
        machine = Initiator(self.signer, keys, ends, os.urandom(ENTROPY_BYTES))
        return Wire(frames, await open_as_initiator(frames, machine))

    def serve(self, keys: ChainKeys, handler: Callable[[Wire], Awaitable[None]]) -> None:
        """Answers sync streams for a chain, and runs `handler` on each."""

        async def answer(stream: Stream) -> None:
            frames = Frames(stream)
            ends = Ends(stream.peer, self.network.peer_id)
            machine = Responder(self.signer, [Candidate(keys)], ends, os.urandom(ENTROPY_BYTES))
            try:
                await handler(Wire(frames, await open_as_responder(frames, machine)))
            except (UnavailableError, RemoteError):
                return

        self.network.serve(SYNC, answer)


class Forger:
    """Makes blocks by a key, right ones and wrong ones.

    Args:
        chain: Where they belong.
    """

    def __init__(self, chain: BlockId, seed: bytes | None = None) -> None:
        self.chain = chain
        self.signer = Ed25519Signer(seed or os.urandom(32))
        self._prev, self._seq, self._height = chain, 0, 1

    def next(
        self, content: bytes | Draft = b"forged", *, parents: Sequence[BlockId] = (), height: int | None = None
    ) -> Block:
        """The author's next block, upon its own last one."""
        block = self.at(self._seq, self._prev, content, parents=parents, height=height or self._height)
        self._prev, self._seq, self._height = block.id, self._seq + 1, block.height + 1
        return block

    def at(
        self, seq: int, prev: BlockId | None, content: bytes | Draft = b"forged", *, parents: Sequence[BlockId] = (),
        height: int = 1, chain: BlockId | None = None,
    ) -> Block:  # fmt: skip
        """Any block at all."""
        place = Place(chain or self.chain, seq, prev, tuple(sorted(parents)), height)
        return create(self.signer, place, draft(content) if isinstance(content, bytes) else content, 0)


def broken(block: Block) -> bytes:
    """The block with a signature that does not verify."""
    return block.encoded[:-1] + bytes([block.encoded[-1] ^ 1])
