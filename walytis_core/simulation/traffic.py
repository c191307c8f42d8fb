"""What goes over the simulated wires: true bytes, counted.

Every message is encoded when it is sent and decoded from those bytes when it arrives (once, whoever it goes to: decoding is a
function of the bytes). A run may do without for what honest peers say: decoding gives back what was encoded, and only the number
of its bytes is wanted. It knows no peers and no time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from walytis_core.cid import BlockId
from walytis_core.errors import RemoteError
from walytis_core.messages import Blocks, Credit, Message, decode, encode, size
from walytis_core.screening import identify

FRAME_OVERHEAD_BYTES = 19
"""A frame's length (3) and its seal's tag (16)."""


class Envelope:
    """The bytes of one message under way."""

    __slots__ = ("_blocks", "_data", "_read", "_why", "kind", "message", "size")

    def __init__(self, data: bytes, kind: str) -> None:
        self._data = data
        self.size = len(data)
        self.kind = kind
        self.message: Message | None = None
        self._read = False
        self._blocks: dict[BlockId, bytes] | None = None
        self._why: RemoteError | None = None

    @classmethod
    def of(cls, message: Message) -> Envelope:
        """Writes a message; the commonest of all only once."""
        return _CREDIT if type(message) is Credit and message == _ONE else cls(encode(message), type(message).__name__)

    @classmethod
    def handed_over(cls, message: Message) -> Envelope:
        """A message that is not read from its bytes, for an honest peer says it; they are counted, and written when asked for."""
        if type(message) is Credit:
            return cls.of(message)
        envelope = cls(b"", type(message).__name__)
        envelope.message, envelope._read, envelope.size = message, True, size(message)
        return envelope

    @property
    def data(self) -> bytes:
        """The bytes."""
        if not self._data and self.message is not None:
            self._data = encode(self.message)
        return self._data

    def open(self) -> Message | None:
        """Reads the message; None for an unknown kind. Raises `RemoteError` for garbage."""
        if not self._read:
            self._read = True
            try:
                self.message = decode(self.data)
            except RemoteError as error:
                self._why = error
        if self._why is not None:
            raise self._why
        return self.message

    def blocks_by_id(self) -> dict[BlockId, bytes]:
        """The blocks that a message carries, by their ids: a function of the bytes, as reading is."""
        if self._blocks is None:
            message = self.open()
            self._blocks = identify(message.blocks) if isinstance(message, Blocks) else {}
        return self._blocks

    def message_or_none(self) -> Message | None:
        """The same for those who do not care about garbage."""
        try:
            return self.open()
        except RemoteError:
            return None


_ONE = Credit(1)
_CREDIT = Envelope(encode(_ONE), "Credit")


@dataclass(slots=True)
class Traffic:
    """What was sent: numbers of messages and of bytes.

    Attributes:
        streams: Messages over streams, by (sender, kind).
        channel: Messages published, by (sender, kind); a message counts once, however many hear it.
        stream_bytes: Bytes over streams, framing included, by (sender, receiver).
        channel_bytes: Bytes published, by sender.
        log: Every message over a stream, as (sender, receiver, envelope); None while nobody wants it.
    """

    streams: Counter[tuple[str, str]] = field(default_factory=Counter)
    channel: Counter[tuple[str, str]] = field(default_factory=Counter)
    stream_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    channel_bytes: Counter[str] = field(default_factory=Counter)
    log: list[tuple[str, str, Envelope]] | None = None

    def sent(self, sender: str, receiver: str, envelope: Envelope) -> None:
        """Counts a message over a stream."""
        self.streams[sender, envelope.kind] += 1
        self.stream_bytes[sender, receiver] += envelope.size + FRAME_OVERHEAD_BYTES
        if self.log is not None:
            self.log.append((sender, receiver, envelope))

    def published(self, sender: str, envelope: Envelope) -> None:
        """Counts a message to the channel."""
        self.channel[sender, envelope.kind] += 1
        self.channel_bytes[sender] += envelope.size

    def messages(self, kind: str, *, sender: str | None = None) -> int:
        """How many messages of a kind were sent, over streams and to the channel; by one peer or by all."""
        counts = (self.streams, self.channel)
        return sum(n for count in counts for (who, what), n in count.items() if what == kind and sender in (None, who))

    @property
    def total_bytes(self) -> int:
        """All bytes over streams, and each published message once."""
        return self.stream_bytes.total() + self.channel_bytes.total()

    def clear(self) -> None:
        """Starts counting again from nothing."""
        for counter in (self.streams, self.channel, self.stream_bytes, self.channel_bytes):
            counter.clear()
