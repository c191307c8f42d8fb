"""Bitswap messages: what we read in a peer's, and ours while it is put together.

The format is that of https://specs.ipfs.tech/bitswap-protocol/, versions 1.1 and 1.2, by py-libp2p's protobuf class.
Invariants: of one message a bounded number of entries counts, whatever it holds; no more than those, as plain tuples, is
kept of it. The file knows neither peers nor streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from libp2p.bitswap.pb.bitswap_pb2 import Message as Encoded

from walytis_core.cid import Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits

__all__ = ["MESSAGE_BYTES", "Draft", "Message", "Want", "read"]

MESSAGE_BYTES: Final = 2 << 20  # what Kubo sends at most: a long list of wants, or one block of a size we never ask for
ENTRIES: Final = 4096  # of each kind in one message: Kubo asks for a few hundred
NAME_BYTES: Final = 128  # a longer name of something is not repeated to say that it is not here
_ENTRY_BYTES: Final = 16  # beside its CID or data


class Want(NamedTuple):
    """What a peer wants to have, or wants no longer."""

    cid: bytes
    cancel: bool
    block: bool  # or only to hear whether it is here
    say_no: bool


class Message(NamedTuple):
    """What counts of a peer's message."""

    full: bool  # its wants take the place of all earlier ones
    wants: Sequence[Want]
    blocks: Sequence[tuple[bytes, bytes]]  # the head of each CID, and the data
    has: Sequence[bytes]
    lacks: Sequence[bytes]


def read(encoded: bytes) -> Message:
    """Reads a peer's message; raises `UnavailableError` when it is none, for then its stream has no use."""
    try:
        message = Encoded.FromString(encoded)
    except DecodeError as error:
        raise UnavailableError("The peer does not speak bitswap.") from error
    entries = message.wantlist.entries[:ENTRIES]
    presences = message.blockPresences[:ENTRIES]
    return Message(
        message.wantlist.full,
        [
            Want(one.block, one.cancel, one.wantType == Encoded.Wantlist.Block, one.sendDontHave)
            for one in entries
            if len(one.block) <= NAME_BYTES
        ],
        [(one.prefix, one.data) for one in message.payload[:ENTRIES] if len(one.data) <= Limits.leaf_bytes],
        [one.cid for one in presences if one.type == Encoded.Have],
        [one.cid for one in presences if one.type == Encoded.DontHave],
    )


class Draft:
    """A message of ours."""

    def __init__(self) -> None:
        self.size = 0
        self._message = Encoded()

    def want(self, cid: Cid, *, block: bool) -> None:
        """Asks for a block, or whether it is there."""
        kind = Encoded.Wantlist.Block if block else Encoded.Wantlist.Have
        self._message.wantlist.entries.add(block=cid, priority=1, wantType=kind, sendDontHave=True)
        self.size += len(cid) + _ENTRY_BYTES

    def cancel(self, cid: Cid) -> None:
        """Takes that back."""
        self._message.wantlist.entries.add(block=cid, cancel=True)
        self.size += len(cid) + _ENTRY_BYTES

    def block(self, cid: bytes, data: bytes) -> None:
        """Gives a block."""
        self._message.payload.add(prefix=cid[:4], data=data)
        self.size += len(data) + _ENTRY_BYTES

    def presence(self, cid: bytes, *, has: bool) -> None:
        """Says whether a block is here."""
        self._message.blockPresences.add(cid=cid, type=Encoded.Have if has else Encoded.DontHave)
        self.size += len(cid) + _ENTRY_BYTES

    def encode(self) -> bytes:
        """Its bytes."""
        return self._message.SerializeToString()
