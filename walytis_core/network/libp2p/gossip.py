"""Gossipsub by py-libp2p, made bounded, orderly and quiet; all overrides of its pubsub stand here, each with its reason.

Decides: what of a peer's pubsub stream is taken in, when its subscriptions are known and forgotten, and when our own
publishing waits. Invariants: a peer's topics are those its newest pubsub stream named; a message is handed on with
the peer that signed it; garbage ends a stream, not the service. The overrides fit py-libp2p 0.8.1 (`host.py` checks).
Gossip stays a lossy hint. The file knows nothing of chains.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import OutBoundQueueSize, RpcQueue
from libp2p.pubsub.validators import signature_validator
from libp2p.tools.timed_cache.last_seen_cache import LastSeenCache
from libp2p.utils import encode_varint_prefixed

from walytis_core.limits import Limits
from walytis_core.network.libp2p.host import Host
from walytis_core.network.libp2p.stream import Prefixed, muxed

__all__ = ["GossipService", "Router", "build_gossip"]

HEARTBEAT_S = 1  # repairs the mesh of peers; the default of 120 s leaves new peers out
DEGREE, DEGREE_LOW, DEGREE_HIGH = 8, 6, 12  # peers a message is passed on to
TOPIC_BYTES = 128
TOPICS_PER_PEER = 2048  # one for each chain that it and we may share
CONTROLS_PER_RPC = 1024  # of each kind
SEEN_MESSAGES = 100_000
SEEN_S = 120
CACHED_MESSAGES = 1024  # of the last seconds, offered to peers that lack them: 128 MiB at most
QUEUE_ROOM = 8  # places of a peer's queue that publishing leaves to control messages
PUBLISH_WAIT_S = 1.0  # a peer that takes nothing for so long loses messages until it reads again

Deliver = Callable[[str, ID, bytes], None]

_log = logging.getLogger(__name__)


class _Seen(LastSeenCache):
    """The ids of messages seen: bounded, and without the thread that py-libp2p starts for it."""

    def __init__(self) -> None:
        self._expiry: OrderedDict[bytes, float] = OrderedDict()

    def add(self, key: bytes) -> bool:
        is_new = key not in self._expiry
        self._expiry[key] = time.monotonic() + SEEN_S
        self._expiry.move_to_end(key)
        while len(self._expiry) > SEEN_MESSAGES or next(iter(self._expiry.values())) < time.monotonic():
            self._expiry.popitem(last=False)
        return is_new

    def has(self, key: bytes) -> bool:
        return key in self._expiry

    def length(self) -> int:
        return len(self._expiry)

    def stop(self) -> None:
        """Nothing runs."""


class Router(GossipSub):
    """Gossipsub 1.0 and 1.1, without the parts that cost memory or let a stranger steer us."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[TProtocol(PROTOCOL_ID_V11), TProtocol(PROTOCOL_ID)],  # 1.2 costs twice the CPU
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            prune_back_off=5,  # who leaves a channel and comes back is not shut out for a minute
            unsubscribe_back_off=1,
            adaptive_gossip_enabled=False,  # it sets the heartbeat back to 30 s and more
            spam_protection_enabled=False,  # it drops what exceeds 10 messages a second and topic
            eclipse_protection_enabled=False,  # it counts IP addresses, which peers on one LAN or machine share
        )
        self.graft_flood_threshold = 1.0
        self.scorer = None  # its scores punish peers that share an IP address

    async def heartbeat(self) -> None:
        """Goes on after an error: it works on what peers say, and one that ends ends the node."""
        while True:
            try:
                await super().heartbeat()
            except Exception:  # noqa: BLE001 - a task boundary, as said; it begins anew with a delay
                _log.debug("a heartbeat failed", exc_info=True)

    def remove_peer(self, peer_id: ID) -> None:
        """Forgets all: a peer that comes back starts anew, and strangers leave nothing."""
        super().remove_peer(peer_id)
        self.graft_flood_tracking.pop(peer_id, None)
        for back_off in self.back_off.values():
            back_off.pop(peer_id, None)

    async def leave(self, topic: str) -> None:
        """Forgets the topic's back-offs too."""
        await super().leave(topic)
        self.back_off.pop(topic, None)
        self.time_since_last_publish.pop(topic, None)

    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        """Ignores topics that are not ours: py-libp2p keeps state for each that a peer cares to invent."""
        if graft_msg.topicID in self.mesh:
            await super().handle_graft(graft_msg, sender_peer_id)

    async def handle_prune(self, prune_msg: rpc_pb2.ControlPrune, sender_peer_id: ID) -> None:
        """Ignores topics that are not ours, likewise."""
        if prune_msg.topicID in self.mesh:
            await super().handle_prune(prune_msg, sender_peer_id)

    async def handle_ihave(self, ihave_msg: rpc_pb2.ControlIHave, sender_peer_id: ID) -> None:
        """Ignores topics that are not ours, likewise."""
        if ihave_msg.topicID in self.mesh:
            await super().handle_ihave(ihave_msg, sender_peer_id)

    async def _do_px(self, px_peers: list[rpc_pb2.PeerInfo]) -> None:
        """Peers that a peer suggests are not dialled."""

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        """Passes a message on.

        py-libp2p also keeps messages for peers that may subscribe, and all for a search for equivocation, without bound;
        and it signs, copies and measures each one anew for each peer, at three times the cost.
        """
        assert self.pubsub is not None
        if len(self.mcache.msgs) < CACHED_MESSAGES:
            self.mcache.put(pubsub_msg)
        rpc = rpc_pb2.RPC(publish=[pubsub_msg])
        for peer in self._get_peers_to_send(pubsub_msg.topicIDs, msg_forwarder, ID(pubsub_msg.from_id)):
            if peer in self._pending_control:
                self.send_rpc(peer, rpc)  # takes what else is to be said along
            elif peer in self.pubsub.peer_queues:
                self.pubsub.peer_queues[peer].push(rpc)  # shared: nothing changes it any more
        for topic in pubsub_msg.topicIDs:
            self.time_since_last_publish[topic] = int(time.time())

    def _get_peers_to_send(
        self, topic_ids: Iterable[str], msg_forwarder: ID, origin: ID, msg_id: bytes | None = None
    ) -> Iterable[ID]:
        # our own messages go to all subscribers when they are few, so that nothing waits until a mesh has formed
        send_to = set(super()._get_peers_to_send(topic_ids, msg_forwarder, origin, msg_id))
        if self.pubsub is not None and msg_forwarder == origin == self.pubsub.my_id:
            for topic in topic_ids:
                peers = self.pubsub.peer_topics.get(topic, set())
                send_to.update(list(peers - send_to)[: max(0, DEGREE_HIGH - len(send_to))])
        return send_to


class GossipService(Pubsub):
    """py-libp2p's pubsub; messages go to `deliver(topic, publisher, data)` at once."""

    router: Router

    def __init__(self, host: Host, router: Router, deliver: Deliver) -> None:
        super().__init__(host, router, strict_signing=True)
        # it starts at the time in seconds, so that after a restart peers would take messages as seen for two minutes
        self.counter = time.time_ns()
        self.seen_messages.stop()
        self.seen_messages = _Seen()
        self._deliver = deliver
        self._inbound: dict[ID, INetStream] = {}
        self._opening: set[ID] = set()
        self._room = trio.Event()
        self._stuck: set[ID] = set()

    # --- what the adapter calls ---

    def subscribers(self, topic: str) -> Sequence[ID]:
        """The connected peers on a topic."""
        return list(self.peer_topics.get(topic, ()))

    async def publish_when_room(self, topic: str, data: bytes) -> None:
        """Publishes; waits while the queue of a peer that reads is full (py-libp2p drops silently)."""
        with trio.move_on_after(PUBLISH_WAIT_S) as waiting:
            while self._full_peers(topic):
                await self._room.wait()
        if waiting.cancelled_caught:
            self._stuck.update(self._full_peers(topic))
        await self.publish(topic, data)

    def connection_lost(self, peer_id: ID) -> None:
        """One of several connections to a peer is gone; opens a new stream if it carried ours."""
        stream = self.peers.get(peer_id)
        if stream is not None and stream.muxed_conn.is_closed:
            self._handle_dead_peer(peer_id)

    def _full_peers(self, topic: str) -> set[ID]:
        self._stuck -= {peer for peer in self._stuck if not self._is_full(peer)}
        return set(filter(self._is_full, self.peer_topics.get(topic, ()))) - self._stuck

    def _is_full(self, peer: ID) -> bool:
        return peer in self.peer_queues and len(self.peer_queues[peer]) >= OutBoundQueueSize - QUEUE_ROOM

    # --- from peers ---

    async def stream_handler(self, stream: INetStream) -> None:
        """Reads a peer's pubsub stream until it ends.

        A peer's first words on a new stream name all its topics, so what an older stream said is void. py-libp2p
        forgets and learns them at other moments, and loses those of a peer that restarts.
        """
        peer = stream.muxed_conn.peer_id
        older, self._inbound[peer] = self._inbound.get(peer), stream
        self._forget_all_subscriptions(peer)
        if older is not None:
            self._peer_came_back(peer, older, stream)
            await older.reset()
        try:
            await self.continuously_read_stream(stream)
        except Exception:  # noqa: BLE001 - a task boundary: whatever a stranger sends ends its stream, not the service
            _log.debug("a pubsub stream ended", exc_info=True)
        finally:
            if self._inbound.get(peer) is stream:
                del self._inbound[peer]
                self._forget_all_subscriptions(peer)
            await stream.reset()

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Takes in one message after the other.

        py-libp2p starts a task for each, without bound, and an error in one of them (a garbled key is enough) stops
        the service.
        """
        peer, messages = stream.muxed_conn.peer_id, Prefixed(muxed(stream).read, self.max_inbound_rpc_size)
        while True:
            rpc = rpc_pb2.RPC()
            rpc.ParseFromString(await messages.next())
            _trim(rpc)
            for message in rpc.publish:
                if self._is_subscribed_to_msg(message) and _is_sane(message):
                    await self.push_msg(peer, message)
                await trio.lowlevel.checkpoint()
            # of what is said of one topic the last counts: a peer that comes and goes in one breath is greeted once
            for subscription in {one.topicid: one for one in rpc.subscriptions}.values():
                self.handle_subscription(peer, subscription)
            if rpc.HasField("control"):
                await self.router.handle_rpc(rpc, peer)

    def handle_subscription(self, origin_id: ID, sub_message: rpc_pb2.RPC.SubOpts) -> None:
        """Notes that a peer joins or leaves a topic.

        py-libp2p starts three tasks for each topic, at a cost that grows with the tasks there are: one message of a
        stranger takes minutes. Here only our own topics lead to anything.
        """
        topic = sub_message.topicid
        if not sub_message.subscribe:
            self._forget_subscription(origin_id, topic)
            return
        count = self._peer_subscription_count.get(origin_id, 0)
        known = origin_id in self.peer_topics.get(topic, ())
        if known or count >= TOPICS_PER_PEER or len(topic) > TOPIC_BYTES:
            return
        self._peer_subscription_count[origin_id] = count + 1
        self.peer_topics.setdefault(topic, set()).add(origin_id)
        if topic in self.topic_ids:
            self.manager.run_task(self._greet, origin_id, topic)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Takes a message that is new, hands it over and passes it on; py-libp2p verifies our own too, twice the work."""
        if self._is_msg_seen(msg):
            return
        publisher = ID(msg.from_id)
        if msg_forwarder != self.my_id and (publisher == self.my_id or not signature_validator(msg)):
            return
        self._mark_msg_seen(msg)
        self.notify_subscriptions(msg)
        await self.router.publish(msg_forwarder, msg)

    async def _greet(self, peer: ID, topic: str) -> None:
        """Takes a new subscriber into the mesh, and tells it what was said lately."""
        try:
            await self.router.on_peer_subscribed(peer, topic)
            await self._replay_recent_messages(peer, topic)
        except Exception:  # noqa: BLE001 - a task boundary: an error here would stop the service, on a stranger's word
            _log.debug("a subscriber was not greeted", exc_info=True)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Hands a message straight to our own queue: py-libp2p's holds 32 and drops the newest."""
        publisher = ID(publish_message.from_id)
        if publisher != self.my_id:
            for topic in set(publish_message.topicIDs) & self.topic_ids:
                self._deliver(topic, publisher, publish_message.data)

    def _peer_came_back(self, peer: ID, older: INetStream, newer: INetStream) -> None:
        # over another connection: what we have on the older one may lead nowhere
        ours = self.peers.get(peer)
        if ours is not None and ours.muxed_conn is older.muxed_conn is not newer.muxed_conn:
            self._handle_dead_peer(peer)

    def _forget_all_subscriptions(self, peer_id: ID) -> None:
        super()._forget_all_subscriptions(peer_id)
        for mesh in self.router.mesh.values():
            mesh.discard(peer_id)

    # --- to peers ---

    async def _handle_new_peer(self, peer_id: ID) -> None:
        stream = self.peers.get(peer_id)
        if stream is not None and stream.muxed_conn.is_closed:
            self._drop_outbound(peer_id)  # it belonged to a connection that is gone
        if peer_id in self._opening or peer_id in self.peers:
            return
        self._opening.add(peer_id)
        announced = set(self.topic_ids)
        try:
            await super()._handle_new_peer(peer_id)
        finally:
            self._opening.discard(peer_id)
        queue = self.peer_queues.get(peer_id)
        if queue is None:
            return
        for topic in announced ^ set(self.topic_ids):  # joined or left while the stream was opened
            queue.push(self._build_announce_rpc(topic, topic in self.topic_ids)[0])
        for topic in [topic for topic, peers in self.peer_topics.items() if peer_id in peers]:
            await self.router.on_peer_subscribed(peer_id, topic)  # its topics came before we could answer

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: RpcQueue) -> None:
        """Writes what is queued for a peer; as py-libp2p's, but it says when there is room again."""
        while (rpc := await queue.pop()) is not None:
            self._room.set()
            self._room = trio.Event()
            if not await self.write_msg(stream, rpc):
                break
        self._room.set()
        self._room = trio.Event()

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        """Writes without the signed address record, which the other side would verify with every message."""
        if rpc_msg.senderRecord:
            rpc_msg.ClearField("senderRecord")
        try:
            await muxed(stream).write(encode_varint_prefixed(rpc_msg.SerializeToString()))
        except Exception:  # noqa: BLE001 - a task of the service: whatever the layers below raise ends this stream only
            peer = stream.muxed_conn.peer_id
            if self.peers.get(peer) is stream:
                self._handle_dead_peer(peer)
            return False
        return True

    def _handle_dead_peer(self, peer_id: ID) -> None:
        # only our own stream is dead; what the peer is subscribed to ends with the stream that said so
        self._clear_pending_announce_retries_for_peer(peer_id)
        self._drop_outbound(peer_id)
        if self._peer_is_connected(peer_id):
            self._schedule_peer_stream_retry(peer_id)

    def _drop_outbound(self, peer_id: ID) -> None:
        if self.peers.pop(peer_id, None) is not None:
            self.peer_queues.pop(peer_id).close()
            self.router.remove_peer(peer_id)


def build_gossip(host: Host, deliver: Deliver) -> GossipService:
    """The pubsub service of a host, not yet running; its router runs beside it."""
    return GossipService(host, Router(), deliver)


def _is_sane(message: rpc_pb2.Message) -> bool:
    """Whether a message is worth verifying."""
    return (
        len(message.topicIDs) == 1
        and len(message.data) <= Limits.max_gossip_bytes
        and len(message.from_id) <= 64
        and len(message.seqno) <= 16
    )


def _trim(rpc: rpc_pb2.RPC) -> None:
    """Leaves a bounded amount of work in what a peer sends."""
    rpc.ClearField("senderRecord")  # identify has the addresses
    del rpc.subscriptions[TOPICS_PER_PEER:]
    if rpc.HasField("control"):
        control = rpc.control
        for entries in (control.graft, control.prune, control.ihave, control.iwant):
            del entries[CONTROLS_PER_RPC:]
