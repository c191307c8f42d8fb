"""What gossip takes in, passes on and keeps, without a network below it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import OutBoundQueueSize, RpcQueue
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from libp2p.utils import encode_varint_prefixed

from walytis_core.network.libp2p import gossip
from walytis_core.network.libp2p.gossip import GossipService, build_gossip
from walytis_core.network.libp2p.host import build_host

ALICE, BOB, CAROL = (create_new_key_pair(bytes([number] * 32)) for number in range(1, 4))
BOB_ID, CAROL_ID = (ID.from_pubkey(key.public_key) for key in (BOB, CAROL))
TOPIC = "/walytis/1/topic"


def message(data: bytes = b"news", seqno: int = 1, *, garble: bool = False, own: bool = False) -> rpc_pb2.Message:
    """A message that Bob signed; `own` says that it claims to be Alice's."""
    sender = ID.from_pubkey(ALICE.public_key) if own else BOB_ID
    made = rpc_pb2.Message(data=data, topicIDs=[TOPIC], from_id=sender.to_bytes(), seqno=seqno.to_bytes(8, "big"))
    made.signature = BOB.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + made.SerializeToString())
    made.key = BOB.public_key.serialize()
    if garble:
        made.data += b"!"
    return made


class Service:
    """Alice's gossip with two subscribers, and what it delivered."""

    def __init__(self) -> None:
        self.delivered: list[tuple[ID, bytes]] = []
        self.service: GossipService = build_gossip(
            build_host(ALICE.private_key.to_bytes()), lambda _topic, peer, data: self.delivered.append((peer, data))
        )
        self.service.subscribed_topics_receive[TOPIC] = object()  # type: ignore[assignment]
        self.service.router.attach(self.service)
        self.service.router.mesh[TOPIC] = {BOB_ID, CAROL_ID}
        self.service.peer_topics[TOPIC] = {BOB_ID, CAROL_ID}
        for peer in (BOB_ID, CAROL_ID):
            self.service.peer_queues[peer] = RpcQueue()

    def queued(self, peer: ID) -> int:
        return len(self.service.peer_queues[peer])


def test_a_new_message_is_handed_over_once_and_passed_on_to_others() -> None:
    async def test() -> None:
        alice = Service()
        for _ in range(2):
            await alice.service.push_msg(BOB_ID, message())
        assert alice.delivered == [(BOB_ID, b"news")]
        assert (alice.queued(BOB_ID), alice.queued(CAROL_ID)) == (0, 1)

    trio.run(test)


@pytest.mark.parametrize("forged", [message(garble=True), message(own=True)], ids=["garbled", "in our name"])
def test_what_is_not_its_publishers_goes_nowhere(forged: rpc_pb2.Message) -> None:
    """C36: a message that its publisher did not sign is neither delivered nor passed on, and hides no true one."""

    async def test() -> None:
        alice = Service()
        await alice.service.push_msg(CAROL_ID, forged)
        assert not alice.delivered
        assert alice.queued(BOB_ID) == alice.queued(CAROL_ID) == 0
        await alice.service.push_msg(CAROL_ID, message())
        assert alice.delivered == [(BOB_ID, b"news")]

    trio.run(test)


def test_own_messages_reach_all_subscribers() -> None:
    async def test() -> None:
        alice = Service()
        alice.service.router.mesh[TOPIC] = set()
        await alice.service.publish(TOPIC, b"ours")
        assert not alice.delivered
        assert alice.queued(BOB_ID) == alice.queued(CAROL_ID) == 1
        sent = await alice.service.peer_queues[BOB_ID].pop()
        assert sent is not None
        assert [one.data for one in sent.publish] == [b"ours"]

    trio.run(test)


def test_what_is_kept_for_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: however much is said, the cache of what was said lately does not grow beyond its bound."""
    monkeypatch.setattr(gossip, "CACHED_MESSAGES", 3)

    async def test() -> None:
        alice = Service()
        for number in range(10):
            await alice.service.push_msg(BOB_ID, message(seqno=number))
        assert len(alice.service.router.mcache.msgs) == 3
        assert len(alice.delivered) == 10

    trio.run(test)


def test_a_peer_that_takes_nothing_is_waited_for_once() -> None:
    """Not once for each message, whatever is published on other topics in between."""

    async def test() -> None:
        alice = Service()
        queue = alice.service.peer_queues[CAROL_ID]
        while len(queue) < OutBoundQueueSize:
            queue.push(rpc_pb2.RPC())
        began = trio.current_time()
        for topic in (TOPIC, "another", TOPIC, "another", TOPIC):
            await alice.service.publish_when_room(topic, b"x")
        assert trio.current_time() - began == pytest.approx(gossip.PUBLISH_WAIT_S)

    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


def test_coming_and_going_in_one_breath_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: of what a message says of one topic only the last is acted on."""
    heard: list[bool] = []
    monkeypatch.setattr(GossipService, "handle_subscription", lambda _self, _peer, one: heard.append(one.subscribe))

    class Ends(Exception):  # noqa: N818 - what the stream does, not an error
        pass

    class Stream:
        def __init__(self, data: bytes) -> None:
            self.muxed_stream, self.muxed_conn, self.peer_id, self.data = self, self, BOB_ID, [data]

        async def read(self) -> bytes:
            await trio.lowlevel.checkpoint()
            if not self.data:
                raise Ends
            return self.data.pop()

    async def test() -> None:
        subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=turn % 2 == 0, topicid=TOPIC) for turn in range(101)]
        words = rpc_pb2.RPC(subscriptions=subscriptions).SerializeToString()
        data = encode_varint_prefixed(words)
        with pytest.raises(Ends):
            await Service().service.continuously_read_stream(Stream(data))  # type: ignore[arg-type]
        assert heard == [True]

    trio.run(test)
