"""The key that this node writes a chain with, and when it may be used.

A node never forks itself (DESIGN 3.1): a key of its own making is replaced by a fresh one when peers turn out to hold
newer blocks by it, when it is proven to have forked, or when the directory is a copy; a key that was given, or that a
chain's writers list, cannot be replaced, so it waits until syncs have shown what peers hold by it: with the issuer
that let this node in, or with two peers; with one where no other is known, or none has answered for ten minutes. A peer that
lies, or lacks the newest blocks, cannot be told (docs/threat-model.md); several that agree are less likely to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from walytis_core.block import Block, decode
from walytis_core.cid import BlockId
from walytis_core.errors import LocalError, LockedError, UnavailableError
from walytis_core.events import Arrived, Change, Forked, Synced
from walytis_core.keys import Keys, read_seed
from walytis_core.policy import ADMIT, Genesis, read_admit
from walytis_core.signer import Ed25519Signer, Reluctant, Signer
from walytis_core.store.port import ChainStore, Query

_START, _UNSURE, _GIVEN, _ISSUER = "author/start", "author/unsure", "author/given", "author/issuer"
_ENOUGH_PEERS: Final = 2
_WAIT_FOR_OTHERS_S: Final = 600.0


class _Absent(Reluctant):
    """A key that was given when the chain was made or joined, and was not given this time."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def require_ready(self) -> None:
        """Raises `LockedError`."""
        self.sign(b"")

    def sign(self, message: bytes) -> bytes:
        """Raises `LockedError`."""
        del message
        raise LockedError(
            "this chain is written with a key that was given to it, and that was not given this time",
            hint="Give it again: Node.open(..., signers={chain id: signer}).",
        )


def author_key_name(chain_id: BlockId) -> str:
    """The name under which a chain's own author key is kept."""
    return f"author-{chain_id}"


def first_values(*, given: bytes | None, admit: BlockId | None = None, issuer: str | None = None) -> dict[str, bytes]:
    """What is kept of an author from the transaction on that adds its chain.

    Args:
        given: The key that the app or a layer brought; None for one of this node's making.
        admit: The `core/admit` block that lists the key.
        issuer: Who let this node in, when it joined, and empty when the chain came by a file: a given key may have
            written elsewhere, which is not known yet.
    """
    values = {} if given is None else {_GIVEN: given}
    if admit is not None:
        values[_START] = bytes(admit)
    if issuer is not None:
        values[_ISSUER] = issuer.encode()
        values.update({} if given is None else {_UNSURE: b"1"})
    return values


def _one() -> int:
    return 1


class OwnAuthor:
    """This node's author on one chain.

    Args:
        known_peers: How many peers of the chain are known, online or not.
        now_s: A clock that only goes forward.
        given: A signer that the app or a layer brought; None to use a key of this node's making.
        is_copy: Whether the directory was restored from a copy.
    """

    def __init__(
        self, genesis: Genesis, store: ChainStore, keys: Keys, given: Signer | None, *, is_copy: bool,
        known_peers: Callable[[], int] = _one, now_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._store = store
        self._keys = keys
        self._name = author_key_name(genesis.id)
        self._is_replaceable = given is None and genesis.policy.writers is None
        self._is_unsure = store.get(_UNSURE) is not None
        self._issuer = (store.get(_ISSUER) or b"").decode()
        self._known_peers = known_peers
        self._now_s = now_s
        self._synced: dict[str, float] = {}  # the peers that were synced with since the doubt, and when first
        self.signer: Signer = given or self._kept()
        self._writers = genesis.policy.writers
        self.start = self._found_start()
        self._began_here = store.get(_ISSUER) is None
        is_new = given is not None and store.get(_GIVEN) != given.key
        if is_copy or (is_new and not self._began_here):  # it may have written elsewhere
            self._doubt()
        if given is not None and is_new:
            store.put(_GIVEN, given.key)

    @property
    def is_unsure(self) -> bool:
        """Whether peers may hold newer blocks by this key than we do."""
        return self._is_unsure and not self._is_confirmed()

    def reluctance(self) -> str | None:
        """Why its signer does not sign now, where that is `Reluctant`; None while it does."""
        try:
            if isinstance(self.signer, Reluctant):
                self.signer.require_ready()
        except LocalError as error:
            return str(error)
        return None

    def require_sure(self) -> None:
        """Raises `UnavailableError` while appending could fork the author, `LockedError` while its key is not here.

        And what its signer raises, where that is `Reluctant`.
        """
        if isinstance(self.signer, Reluctant):
            self.signer.require_ready()
        if self.is_unsure:
            raise UnavailableError(
                "this key may have written more than this copy holds, so it writes only after a sync",
                hint="Go online until two peers of the chain, or the one that invited you, have been met; then try again. "
                "Where no other copy of the chain is left: `chain.confirm_newest()`.",
            )
        if self._is_unsure:
            self._set_unsure(None)

    def use(self, signer: Signer, *, fresh: bool) -> None:
        """Writes with a key that was given, from now on; called under the engine's lock.

        Args:
            signer: The key.
            fresh: Whether it has written nothing yet.
        """
        last, self.signer, self._is_replaceable = self.signer.key, signer, False
        if signer.key != last:
            self._store.put_many({_GIVEN: signer.key, _START: None})
            self.start = self._found_start()
            if fresh:
                self._set_unsure(None)
            elif not (self._began_here or self._is_admission_by(last)):  # else a doubt of before stays
                self._doubt()
        elif self._store.get(_GIVEN) is None:
            self._store.put(_GIVEN, signer.key)

    def _is_admission_by(self, author: bytes) -> bool:
        """Whether the key that is used now was admitted by another one."""
        encoded = {} if self.start is None else self._store.encoded([self.start])
        return any(decode(data, BlockId(id)).author == author for id, data in encoded.items())

    def confirm(self) -> None:
        """The user knows that nobody holds newer blocks by this key."""
        self._set_unsure(None)

    def tell(self, change: Change) -> None:
        """A change of the chain; called under the engine's lock."""
        match change:
            case Arrived(blocks, False):
                self._arrived(blocks)
            case Forked(author, _) if author == self.signer.key:
                self._doubt()
            case Synced(peer, _) if self._is_unsure:
                self._synced.setdefault(peer, self._now_s())
                if self._is_confirmed():
                    self._set_unsure(None)

    def _arrived(self, blocks: Sequence[Block]) -> None:
        if any(block.author == self.signer.key for block in blocks):
            self._doubt()
        if self.start is None and self._needs_start:  # the chain came by a file: its key may be admitted later
            self._begin_at(next((block.id for block in blocks if self._is_admitted_by(block)), None))

    @property
    def _needs_start(self) -> bool:
        return self._writers is not None and self.signer.key not in self._writers

    def _is_admitted_by(self, block: Block) -> bool:
        return block.type == ADMIT and self.signer.key in read_admit(block)

    def _found_start(self) -> BlockId | None:
        """The admission of the key that is used now: the one that is noted, or the first that is held."""
        noted = self._store.get(_START)
        if noted is not None:
            encoded = self._store.encoded([noted]).get(BlockId(noted))
            if encoded is None or self._is_admitted_by(decode(encoded, BlockId(noted))):
                return BlockId(noted)  # while it is on its way, or damaged, it is taken at its word
        query, found = Query(type=ADMIT), None
        while self._needs_start and found is None and (rows := self._store.query(query, newest_first=False, limit=64)):
            found = next((row.id for row in rows if self._is_admitted_by(decode(row.encoded, row.id))), None)
            query = query._replace(since=rows[-1].number)
        return found

    def _begin_at(self, start: BlockId | None) -> None:
        if start is not None:
            self.start = start
            self._store.put(_START, bytes(start))

    def _is_confirmed(self) -> bool:
        """Whether enough peers have shown what they hold by this key."""
        if not self._synced:
            return False
        enough = min(_ENOUGH_PEERS, max(1, self._known_peers()))
        waited_s = self._now_s() - min(self._synced.values())
        return self._issuer in self._synced or len(self._synced) >= enough or waited_s >= _WAIT_FOR_OTHERS_S

    def _set_unsure(self, value: bytes | None) -> None:
        self._store.put(_UNSURE, value)
        self._is_unsure = value is not None

    def _doubt(self) -> None:
        if self._is_replaceable:
            self.signer = Ed25519Signer(self._fresh())
        else:
            self._synced.clear()
            self._set_unsure(b"1")

    def _kept(self) -> Signer:
        key = self._store.get(_GIVEN)
        if key is not None:
            self._is_replaceable = False
            return _Absent(key)
        return Ed25519Signer(read_seed(self._keys, self._name) or self._fresh())

    def _fresh(self) -> bytes:
        seed = os.urandom(32)
        self._keys.put(self._name, seed)
        return seed
