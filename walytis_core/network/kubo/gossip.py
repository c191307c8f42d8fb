"""Channels by the daemon's pubsub: subscriptions, publishing, and who is on a channel.

Who is on one can only be asked for, channel by channel: soon and often after something changed, then less and less, and in
all not more often than a budget allows. Invariants: a subscription that ends is opened again while the node runs; a line
that is too long ends only its stream; what the daemon relays is a stranger's, and is checked by whoever reads it. Topics and
payloads are multibase base64url. Knows no chains.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network._peer_id import is_peer_id
from walytis_core.network.kubo.peers import Peers
from walytis_core.network.kubo.rpc import Rpc, object_of
from walytis_core.network.port import Gossip, PeerId

__all__ = ["Channels", "Hear"]

Hear = Callable[[str, Gossip], None]

_MAX_LINE_BYTES: Final = Limits.max_gossip_bytes * 4 // 3 + 4096
_OPEN_WAIT_S: Final = 2.0
_PUBLISH_WAIT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.05
_LEAST_PAUSE_S: Final = 0.001
_REOPEN_S: Final = (0.1, 2.0)
_MOST_PAUSE_S: Final = 4.0  # between two looks at a channel when there are few of them
_LOOKS_PER_S: Final = 2.0  # at all channels, when nothing has happened for long
_LOOKS_AHEAD: Final = 200.0  # at once, when much has happened; a crowd that comes and goes must not cost more
_BUDGET_PER_S: Final = 4.0
_UNASKED_S: Final = 60.0


def encoded(data: bytes) -> str:
    """Bytes in multibase base64url."""
    return "u" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: object) -> bytes | None:
    """The bytes of multibase base64url; None where it is not that."""
    if not isinstance(text, str) or not text.startswith("u") or "=" in text:
        return None
    try:
        return base64.b64decode(text[1:] + "=" * (-len(text[1:]) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None


@dataclass(slots=True)
class _Crowd:
    """Who is on a channel, as far as known."""

    due: float
    peers: tuple[PeerId, ...] = ()
    pause_s: float = _FIRST_PAUSE_S
    asked: float = 0.0


@dataclass(slots=True)
class _Subscription:
    is_settled: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stream: trio.CancelScope = field(default_factory=trio.CancelScope)


class Channels:
    """The channels of a node.

    Args:
        rpc: The daemon's RPC.
        peers: Who is connected.
        hear: Takes each message of a channel.
        nursery: Where subscriptions run.
        doubt: Called when a subscription ended: the daemon may be away.
    """

    def __init__(self, rpc: Rpc, peers: Peers, hear: Hear, nursery: trio.Nursery, doubt: Callable[[], None]) -> None:
        self.own: PeerId = ""
        self._rpc = rpc
        self._peers = peers
        self._hear = hear
        self._nursery = nursery
        self._doubt = doubt
        self._subscriptions: dict[str, _Subscription] = {}
        self._crowds: dict[str, _Crowd] = {}
        self._publishing = trio.Lock()
        self._up = trio.Event()
        self._changed = trio.Event()
        self._budget, self._budget_at = _LOOKS_AHEAD, trio.current_time()

    def came_up(self) -> None:
        """The daemon is there."""
        self._up.set()
        self.news()

    def went_down(self) -> None:
        """The daemon is away; may be called again and again while it is.

        One that is stopping takes no more calls, and waits half a minute for the subscriptions to end.
        """
        if self._up.is_set():  # else there are tasks that wait for it
            self._up = trio.Event()
        for subscription in self._subscriptions.values():
            subscription.stream.cancel()
        for crowd in self._crowds.values():
            crowd.peers = ()

    # --- subscriptions -----------------------------------------------------------------------------------------------

    async def subscribe(self, channel: str) -> None:
        """Subscribes; returns when the daemon has, does not answer in time, or is away."""
        subscription = self._subscriptions[channel] = _Subscription()
        self._nursery.start_soon(self._keep, channel, subscription)
        await trio.lowlevel.checkpoint()
        if self._up.is_set():
            with trio.move_on_after(_OPEN_WAIT_S):
                await subscription.is_settled.wait()

    async def unsubscribe(self, channel: str) -> None:
        """Ends a subscription."""
        await trio.lowlevel.checkpoint()
        if subscription := self._subscriptions.pop(channel, None):
            subscription.scope.cancel()

    async def _keep(self, channel: str, subscription: _Subscription) -> None:
        pause_s, most_s = _REOPEN_S

        def opened() -> None:
            subscription.is_settled.set()
            self._crowd(channel)
            self.news(channel)

        with subscription.scope:
            while True:
                await self._up.wait()
                began = trio.current_time()
                subscription.stream = trio.CancelScope()
                with suppress(UnavailableError), subscription.stream:
                    await self._rpc.each_line(
                        "pubsub/sub",
                        encoded(channel.encode()),
                        max_bytes=_MAX_LINE_BYTES,
                        on_open=opened,
                        on_line=partial(self._take, channel),
                    )
                subscription.is_settled.set()
                self._doubt()
                pause_s = _REOPEN_S[0] if trio.current_time() - began > most_s else min(2 * pause_s, most_s)
                await trio.sleep(pause_s)

    def _take(self, channel: str, line: bytes) -> None:
        match object_of(line):
            case {"from": str(publisher), "data": text} if is_peer_id(publisher) and publisher != self.own:
                data = decoded(text)
                if data is not None and len(data) <= Limits.max_gossip_bytes:
                    self._hear(channel, Gossip(publisher, data))
                    self._heard_of(channel, publisher)
            case _:
                pass

    def _heard_of(self, channel: str, publisher: PeerId) -> None:
        crowd = self._crowds.get(channel)
        if crowd and publisher in self._peers and publisher not in crowd.peers and crowd.pause_s > 1.0:
            self.news(channel)

    async def publish(self, channel: str, data: bytes) -> None:
        """Publishes, one message after the other: the daemon has no order for those that come at once."""
        if len(data) > Limits.max_gossip_bytes:
            raise InvalidInputError(f"A message has at most {Limits.max_gossip_bytes} bytes.")
        async with self._publishing:
            await self._rpc.call("pubsub/pub", encoded(channel.encode()), body=data, wait_s=_PUBLISH_WAIT_S)

    # --- who is on a channel -----------------------------------------------------------------------------------------

    def on_channel(self, channel: str) -> Sequence[PeerId]:
        """The connected peers that are on a channel, as far as known."""
        return [peer for peer in self._crowd(channel).peers if peer in self._peers]

    def _crowd(self, channel: str) -> _Crowd:
        now = trio.current_time()
        crowd = self._crowds.get(channel)
        if crowd is None:
            crowd = self._crowds[channel] = _Crowd(now)
            self._changed.set()
        crowd.asked = now
        return crowd

    def news(self, channel: str | None = None) -> None:
        """Something changed, for one channel or for all: they are looked at soon, and again a little later."""
        now = trio.current_time()
        for crowd in self._crowds.values() if channel is None else (self._crowds[channel],):
            crowd.due, crowd.pause_s = now, _FIRST_PAUSE_S
        self._changed.set()

    async def look(self) -> None:
        """Looks at the channels that are due, one after the other, for ever."""
        while True:
            await self._up.wait()
            channel = min(self._crowds, key=lambda one: self._crowds[one].due, default=None)
            wait_s = None if channel is None else max(self._crowds[channel].due - trio.current_time(), self._too_soon())
            if channel is None or wait_s:
                await self._pause(wait_s)
            elif self._is_unasked(channel):
                del self._crowds[channel]
            else:
                await self._look_at(channel)

    async def _pause(self, wait_s: float | None) -> None:
        with trio.move_on_after(float("inf") if wait_s is None else max(wait_s, _LEAST_PAUSE_S)):
            await self._changed.wait()
        self._changed = trio.Event()

    def _too_soon(self) -> float:
        """How long the budget wants us to wait."""
        now = trio.current_time()
        self._budget = min(_LOOKS_AHEAD, self._budget + (now - self._budget_at) * _BUDGET_PER_S)
        self._budget_at = now
        return 0.0 if self._budget >= 1.0 else (1.0 - self._budget) / _BUDGET_PER_S

    def _is_unasked(self, channel: str) -> bool:
        return channel not in self._subscriptions and self._crowds[channel].asked < trio.current_time() - _UNASKED_S

    async def _look_at(self, channel: str) -> None:
        crowd = self._crowds[channel]
        most_s = max(_MOST_PAUSE_S, len(self._crowds) / _LOOKS_PER_S)
        crowd.due, crowd.pause_s = trio.current_time() + crowd.pause_s, min(2 * crowd.pause_s, most_s)
        self._budget -= 1.0
        try:
            told = (await self._rpc.ask("pubsub/peers", encoded(channel.encode()))).get("Strings")
        except UnavailableError:
            self._doubt()
            return
        found = told if isinstance(told, list) else []
        crowd.peers = tuple(peer for peer in found if is_peer_id(peer))
