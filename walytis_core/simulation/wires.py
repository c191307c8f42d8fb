"""The simulated network: streams between two, and a channel that all listen to.

A stream keeps order and loses nothing until it is cut; then what was under way is lost, and both ends are told. The channel
loses, duplicates and reorders as `Weather` says. Partitions cut streams and silence the channel. Invariant: a message
of a stream that was cut never arrives, not even over the next stream of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from walytis_core.limits import Limits
from walytis_core.messages import Message
from walytis_core.network.weather import Weather
from walytis_core.simulation.timeline import Timeline
from walytis_core.simulation.traffic import Envelope, Traffic

_NOTICE_S = 0.1
"""How long a peer takes to notice that a stream is gone."""


class Participant(Protocol):
    """Anyone on the network."""

    name: str
    is_up: bool

    def opened(self, peer: str) -> None:
        """A stream to a peer is open."""
        ...

    def closed(self, peer: str) -> None:
        """A stream to a peer is gone."""
        ...

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        """A message came."""
        ...


@dataclass(slots=True)
class _Stream:
    """One stream.

    Attributes:
        is_spare: Whether it was opened for one sync: such streams make room for others.
        messages_left: How many more messages go over it before it is cut.
        arrives_s: When the last message of each direction arrives, by receiver.
    """

    is_spare: bool
    is_open: bool = True
    messages_left: int | None = None
    arrives_s: dict[str, float] = field(default_factory=dict)


class Wires:
    """All streams and the channel."""

    def __init__(self, timeline: Timeline, weather: Weather, traffic: Traffic, *, bytes_read: bool = True) -> None:
        self.timeline = timeline
        self.weather = weather
        self.traffic = traffic
        self.write: Callable[[Message], Envelope] = Envelope.of if bytes_read else Envelope.handed_over
        self.everyone: dict[str, Participant] = {}
        self._streams: dict[str, dict[str, _Stream]] = {}

    def join(self, participant: Participant) -> None:
        """Adds somebody."""
        self.everyone[participant.name] = participant
        self._streams[participant.name] = {}

    def neighbours(self, name: str) -> list[str]:
        """The peers at the other ends of somebody's streams, the longest open first."""
        return list(self._streams[name])

    # --- streams -------------------------------------------------------------------------------------------------

    def reaches(self, one: str, other: str) -> bool:
        """Whether a stream between the two could be opened now."""
        up = self.everyone[one].is_up and self.everyone[other].is_up
        return up and one != other and not self.weather.separated(one, other, self.timeline.now_s)

    def dial(self, dialer: str, other: str, *, spare: bool = False) -> bool:
        """Opens a stream; returns whether there is one. Where one side has too many, a spare one makes room."""
        if other not in self.everyone or not self.reaches(dialer, other):
            return False
        if other in self._streams[dialer]:
            return True
        for name in (dialer, other):
            if len(self._streams[name]) >= Limits.neighbours and not self._make_room(name):
                return False
        stream = _Stream(spare)
        self._streams[dialer][other] = self._streams[other][dialer] = stream
        self.timeline.after(self.weather.latency(), self._opened, dialer, other, stream)
        self.timeline.after(self.weather.latency(), self._opened, other, dialer, stream)
        return True

    def _make_room(self, name: str) -> bool:
        streams = self._streams[name]
        oldest = next((other for other, stream in streams.items() if stream.is_spare), None)
        if oldest is not None:
            self.cut(name, oldest)
        return oldest is not None

    def _opened(self, name: str, other: str, stream: _Stream) -> None:
        if stream.is_open:
            stream.arrives_s.setdefault(name, 0.0)
            self.everyone[name].opened(other)

    def cut(self, one: str, other: str) -> None:
        """Cuts the stream between two, if there is one; both notice a moment later."""
        stream = self._streams[one].pop(other, None)
        if stream is None:
            return
        del self._streams[other][one]
        stream.is_open = False
        for name, peer in ((one, other), (other, one)):
            if name in stream.arrives_s:
                self.timeline.after(_NOTICE_S, self._closed, name, peer)

    def _closed(self, name: str, peer: str) -> None:
        if self.everyone[name].is_up:
            self.everyone[name].closed(peer)

    def cut_after(self, one: str, other: str, messages: int) -> None:
        """Has the stream between two cut once so many more messages went over it."""
        self._streams[one][other].messages_left = messages

    def cut_all(self, name: str) -> None:
        """Cuts all streams of somebody."""
        for other in self.neighbours(name):
            self.cut(name, other)

    def cut_separated(self) -> None:
        """Cuts the streams that a partition runs through."""
        for one in self.everyone:
            for other in self.neighbours(one):
                if not self.reaches(one, other):
                    self.cut(one, other)

    def send(self, sender: str, receiver: str, envelope: Envelope) -> None:
        """Sends over a stream; without one the message is lost."""
        stream = self._streams[sender].get(receiver)
        if stream is None:
            return
        self.traffic.sent(sender, receiver, envelope)
        now_s = self.timeline.now_s
        arrives_s = max(now_s + self.weather.latency(), stream.arrives_s.get(receiver, 0.0))
        if receiver in stream.arrives_s:
            stream.arrives_s[receiver] = arrives_s
        else:  # not before the other end knows of the stream
            arrives_s = now_s + 2 * self.weather.latency()
        self.timeline.after(arrives_s - now_s, self._arrive, sender, receiver, envelope, stream)
        if stream.messages_left is not None:
            stream.messages_left -= 1
            if stream.messages_left < 0:
                self.cut(sender, receiver)

    def _arrive(self, sender: str, receiver: str, envelope: Envelope, stream: _Stream) -> None:
        if stream.is_open:
            self.everyone[receiver].heard(sender, envelope, False)

    # --- the channel ---------------------------------------------------------------------------------------------

    def publish(self, sender: str, envelope: Envelope) -> None:
        """Tells everyone on the channel, as the weather allows."""
        self.traffic.published(sender, envelope)
        for receiver in self.everyone:
            if receiver != sender:
                self.whisper(sender, receiver, envelope)

    def whisper(self, sender: str, receiver: str, envelope: Envelope) -> None:
        """Has one peer alone hear something on the channel, as the weather allows: alone only what a hostile peer says."""
        for delay_s in self.weather.delays(sender, receiver, self.timeline.now_s):
            self.timeline.after(delay_s, self._hear, sender, receiver, envelope)

    def _hear(self, sender: str, receiver: str, envelope: Envelope) -> None:
        participant = self.everyone[receiver]
        if participant.is_up:
            participant.heard(sender, envelope, True)
