"""`Keeping`: the part of a chain's handle by which layers keep bytes beside its blocks, and say who may have them.

An object is bytes under their CID in the chain's side store. Invariants: what bears a label is given to those node keys
alone that `let_have` names for it, and to nobody before it does; whoever may not have it gets the answer for what is not held.
What an object means, and which block speaks of it, is for the layer to know.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from walytis_core.cid import CID_BYTES, RAW_PREFIX, Cid
from walytis_core.engine import Engine
from walytis_core.errors import InvalidInputError
from walytis_core.handshake import NODE_KEY_BYTES
from walytis_core.limits import Limits
from walytis_core.pending import Pending
from walytis_core.store.port import ChainStore

if TYPE_CHECKING:
    from walytis_core.home import Home

MEMBERS: Final = "members"


class Keeping:
    """What a chain's handle has for objects beside its blocks."""

    engine: Engine
    tables: ChainStore
    _home: Home

    def keep(self, data: bytes, readers: str = MEMBERS) -> Cid:
        """Keeps bytes beside the chain's blocks, durably; gives the CID by which peers ask for them.

        Args:
            data: 1 byte to 256 KiB.
            readers: A label for those who may have it, see `let_have`; empty for whoever may read the chain. What has a
                label keeps it when the same bytes are kept again without.

        Raises:
            InvalidInputError: The data is empty or too long, or the label is.
            StorageError: The disk refused.
            ClosedError: The node has been closed.
        """
        self._require_open()
        if not _is_bytes(data) or not 0 < len(data) <= Limits.leaf_bytes:
            raise InvalidInputError(f"what is kept beside the blocks has 1 to {Limits.leaf_bytes} bytes")
        cid = Cid.of(data, RAW_PREFIX)
        self.engine.keep(cid, data, _label(readers))
        return cid

    def kept(self, cid: Cid) -> bytes | None:
        """The bytes of an object, or None where they are not held, or were damaged here."""
        self._require_open()
        data = self.tables.side(cid)
        return data if data is not None and Cid.of(data, bytes(cid[:4])) == cid else None

    def fetch_kept(self, cid: Cid, readers: str = MEMBERS) -> Pending[bytes]:
        """Fetches an object from the chain's peers, and keeps it; at once where it is held already.

        Who is there is asked, and whoever comes later, until one gives it or the `Pending` is cancelled.

        Args:
            cid: As `keep` gave it, elsewhere.
            readers: The label under which it is kept here.

        Raises:
            InvalidInputError: This is no CID of an object.
            ClosedError: The node has been closed.
        """
        self._require_open()
        if not _is_bytes(cid, CID_BYTES) or not cid.startswith(RAW_PREFIX):
            raise InvalidInputError("an object is named by the CID that `keep` gave")
        return self._home.fetch_kept(self, Cid(cid), _label(readers))

    def forget_kept(self, *cids: Cid) -> None:
        """Forgets objects, here; `fetch_kept` brings them back while anyone has them.

        Raises:
            StorageError: The disk refused.
            ClosedError: The node has been closed.
        """
        self._require_open()
        self.tables.drop_side(cids, labelled=True)

    def let_have(self, label: str, node_keys: Collection[bytes]) -> None:
        """Says who may have the objects with a label, from now on: nobody else gets what is left of them.

        It is not kept: a layer says it each time the chain was opened, and when it changes.

        Args:
            label: As given to `keep` and `fetch_kept`; not empty.
            node_keys: Of 32 bytes, as `Node.key` and `PeerInfo.node_key`; a peer proves its own when a stream is opened.

        Raises:
            InvalidInputError: The label is empty or too long, or a node key has not 32 bytes.
            ClosedError: The node has been closed.
        """
        self._require_open()
        if not _label(label) or not all(_is_bytes(key, NODE_KEY_BYTES) for key in node_keys):
            raise InvalidInputError(f"a label is not empty, and node keys have {NODE_KEY_BYTES} bytes")
        self.engine.let_have(label, node_keys)

    def _require_open(self) -> None:
        """Raises `ClosedError` once the chain is closed."""
        raise NotImplementedError


def _is_bytes(value: object, length: int | None = None) -> bool:
    return isinstance(value, bytes) and length in (None, len(value))


def _label(text: object) -> str:
    if not isinstance(text, str) or len(text) > Limits.max_label_chars or not (text.isprintable() or not text):
        raise InvalidInputError(f"a label of readers is printable text of at most {Limits.max_label_chars} characters")
    return text
