"""Fetching content: which pieces are asked of whom.

A piece (a leaf or node of a UnixFS file) is asked of one peer at a time and comes in parts; when it is whole and its
bytes match its CID it is kept, else another peer is asked. A piece that everybody lacks is reported missing, and can be
asked for again. Pure; memory is bounded by the pieces under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from walytis_core.cid import Cid
from walytis_core.errors import Reason
from walytis_core.events import Effect, Fetched, Notify, PutSide, Reject, Send, SetTimer
from walytis_core.messages import SidePart, SideWant

_UNDER_WAY = 8
"""Pieces asked for and not yet whole: 8 leaves are 2 MiB."""
_PATIENCE_S = 10.0


@dataclass(slots=True)
class _Piece:
    """A piece under way."""

    peer: str
    data: bytearray = field(default_factory=bytearray)
    asked: set[str] = field(default_factory=set)
    moved: bool = True
    """Whether a part of it came, or it was asked for, since patience was looked at."""


@dataclass(slots=True)
class Fetching:
    """The pieces that are wanted and under way."""

    _waiting: dict[Cid, set[str]] = field(default_factory=dict)
    _under_way: dict[Cid, _Piece] = field(default_factory=dict)
    _slow: set[str] = field(default_factory=set)  # peers that let us wait: asked when nobody else is left
    _labels: dict[Cid, str] = field(default_factory=dict)  # of what is waiting or under way

    def want(self, cids: Sequence[Cid], peers: Sequence[str], readers: str = "") -> list[Effect]:
        """Content is wanted; it is asked of the peers with a link.

        Args:
            cids: The pieces.
            peers: The peers with a link.
            readers: The label under which it is to be kept; what is wanted with and without one is kept with it.
        """
        for cid in cids:
            if readers:
                self._labels[cid] = readers
            if cid not in self._under_way:
                self._waiting.setdefault(cid, set())
        return self._ask(peers)

    def part(self, peer: str, part: SidePart, peers: Sequence[str]) -> list[Effect]:
        """A part came."""
        piece = self._under_way.get(part.cid)
        if piece is None or piece.peer != peer or part.offset != len(piece.data):
            return [Reject(Reason.UNASKED, peer)]
        piece.moved = True
        self._slow.discard(peer)
        piece.data += part.data
        if len(piece.data) < part.total:
            return [] if part.data else [Reject(Reason.BAD_CONTENT, peer), *self.lacking(peer, (part.cid,), peers)]
        data = bytes(piece.data)
        if Cid.of(data, part.cid[:4]) != part.cid:
            return [Reject(Reason.BAD_CONTENT, peer), *self.lacking(peer, (part.cid,), peers)]
        del self._under_way[part.cid]
        readers = self._labels.pop(part.cid, "")
        return [PutSide(part.cid, data, readers), Notify(Fetched((part.cid,))), *self._ask(peers)]

    def lacking(self, peer: str, cids: Sequence[Cid], peers: Sequence[str]) -> list[Effect]:
        """A peer does not have pieces: others are asked."""
        for cid in cids:
            piece = self._under_way.get(cid)
            if piece is not None and piece.peer == peer:
                del self._under_way[cid]
                self._waiting[cid] = piece.asked
        return self._ask(peers)

    def lost(self, peer: str, peers: Sequence[str]) -> list[Effect]:
        """A peer is gone."""
        self._slow.discard(peer)
        return self.lacking(peer, [cid for cid, piece in self._under_way.items() if piece.peer == peer], peers)

    def patience(self, peers: Sequence[str]) -> list[Effect]:
        """Time is up for what made no progress since the last time."""
        stalled = [(cid, piece.peer) for cid, piece in self._under_way.items() if not piece.moved]
        for piece in self._under_way.values():
            piece.moved = False
        self._slow.update(peer for _, peer in stalled)
        effects: list[Effect] = []
        for cid, peer in stalled:
            effects.extend(self.lacking(peer, (cid,), peers))
        return [*effects, SetTimer("side", _PATIENCE_S)] if self._under_way else effects

    def _load(self, peer: str) -> tuple[bool, int]:
        return peer in self._slow, sum(piece.peer == peer for piece in self._under_way.values())

    def _ask(self, peers: Sequence[str]) -> list[Effect]:
        effects: list[Effect] = []
        missing: list[Cid] = []
        wants: dict[str, list[Cid]] = {}
        for cid, asked in list(self._waiting.items()):
            if len(self._under_way) >= _UNDER_WAY:
                break
            del self._waiting[cid]
            left = [peer for peer in peers if peer not in asked]
            if not left:
                self._labels.pop(cid, None)
                missing.append(cid)
                continue
            peer = min(left, key=self._load)
            self._under_way[cid] = _Piece(peer, asked=asked | {peer})
            wants.setdefault(peer, []).append(cid)
        effects.extend(Send(peer, SideWant(tuple(cids))) for peer, cids in wants.items())
        if missing:
            effects.append(Notify(Fetched(tuple(missing), missing=True)))
        if wants:
            effects.append(SetTimer("side", _PATIENCE_S))
        return effects
