"""What goes into the replica and what comes out: plain frozen data.

Inputs say what happened; effects say what to do, in order. `engine.py` performs effects and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from walytis_core.block import Block, Draft
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import Reason
from walytis_core.messages import Message, Why
from walytis_core.screening import Screened
from walytis_core.signer import Signer
from walytis_core.store.port import Commit

# --- inputs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Append:
    """The user appends: the blocks are made, signed and chained in this order."""

    drafts: Sequence[Draft]
    signer: Signer
    time_ms: int
    start: BlockId | None = None
    """The `core/admit` block that lists the key, for its first block on a chain of listed writers."""
    check: Callable[[Block], None] | None = None
    """Raises for a block that is not to be written; it is made, and nothing knows of it yet."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message came, other than blocks."""

    peer: str
    message: Message
    gossip: bool = False


@dataclass(frozen=True, slots=True)
class Came:
    """Blocks came and were screened: one frame of them, or a few that came one after another for the same reason."""

    peer: str
    why: Why
    screened: Screened
    gossip: bool = False
    frames: int = 1


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """A sync stream to a peer is open: both sides proved themselves."""

    peer: str
    node_key: bytes = b""
    """The one that it proved; 32 bytes."""


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The sync stream to a peer is gone."""

    peer: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set before is due. Setting a timer again replaces it."""

    name: str


@dataclass(frozen=True, slots=True)
class Settle:
    """What the last commit made possible is due: forks that were found are judged on committed members."""


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Members whose bytes are lost here and wanted again."""

    ids: Sequence[BlockId]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Content is wanted."""

    cids: Sequence[Cid]
    readers: str = ""
    """The label under which it is to be kept."""


Input: TypeAlias = Append | Received | Came | PeerSeen | PeerLost | TimerFired | Settle | Corrupt | Fetch

# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Store:
    """Commit durably, before any effect that follows."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class Heal:
    """Put back the bytes of a member that was set aside as corrupt."""

    block: Block


@dataclass(frozen=True, slots=True)
class PutSide:
    """Keep a piece of content: its bytes match its CID."""

    cid: Cid
    data: bytes
    readers: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the channel."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """Tell one peer, over its sync stream."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Have `TimerFired(name)` come after `delay_s`; it replaces a timer of that name."""

    name: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Contact:
    """Open a sync stream to this peer: it holds something else than we do."""

    peer: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Something a peer sent was refused; to be counted, and the peer to be throttled."""

    reason: Reason
    peer: str
    id: BlockId | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """Blocks became members, parents before children. Notified after they are stored."""

    blocks: Sequence[Block]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Revised:
    """Blocks left the folded set, came back into it, or came into it after they had become members."""

    ids: Sequence[BlockId]


@dataclass(frozen=True, slots=True)
class Forked:
    """An author is proven to have equivocated."""

    author: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the pull under way is: blocks taken from this peer, and how many it said it has."""

    peer: str
    held: int
    known: int


@dataclass(frozen=True, slots=True)
class Synced:
    """A pull from this peer is complete: everything it had at the end of it is held, or was refused."""

    peer: str
    equal: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """Content pieces are held now, or nobody who is there has them."""

    cids: Sequence[Cid]
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Met:
    """A peer is there that was not there before."""

    peer: str


Change: TypeAlias = Arrived | Revised | Forked | Progress | Synced | Fetched | Met


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell followers, views and waiting callers."""

    change: Change


Effect: TypeAlias = Store | Heal | PutSide | Publish | Send | SetTimer | Contact | Reject | Notify
