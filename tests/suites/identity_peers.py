"""What simulated devices of an identity stand on: secrets in memory, cryptography without chance, a chain at a peer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from identities import suites, wraps
from identities.payloads import PREFIX
from identities.rights import Folded
from identities.state import LAYER, folded_of_genesis
from identities.suites import COMPOSITE, ED25519, SEAL_OVERHEAD, SealingKey
from walytis_core.block import Block, Draft, draft
from walytis_core.block import decode as decode_block
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import NotFoundError, Reason, RemoteError
from walytis_core.events import Arrived, Change, Fetch, Fetched, Met, Revised, Synced
from walytis_core.layer import Layer
from walytis_core.policy import ADMIT, encode_admit, read_admit
from walytis_core.signer import Signer
from walytis_core.simulation import Simulation
from walytis_core.simulation.peer import Peer
from walytis_core.standing import require_obeyed
from walytis_core.store.port import Query
from walytis_core.view import View

MEMBERS = "members"


class MemoryVault:
    """Secrets in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.held.get(name)

    def put(self, name: str, secret: bytes) -> None:
        self.held[name] = secret

    def delete(self, name: str) -> None:
        self.held.pop(name, None)


@contextmanager
def stand_ins(source: random.Random) -> Iterator[None]:
    """Ed25519 where a suite is hybrid, and seals that only the right key object opens: nothing is left to the system."""

    def seal(public: bytes, info: bytes, plaintext: bytes) -> bytes:
        nonce = source.randbytes(32)
        sealed = ChaCha20Poly1305(hashlib.sha256(public + nonce).digest()).encrypt(bytes(12), plaintext, info)
        return nonce + sealed + bytes(SEAL_OVERHEAD - 48)

    def open(key: SealingKey, info: bytes, sealed: bytes) -> bytes:
        cipher = ChaCha20Poly1305(hashlib.sha256(key.public + sealed[:32]).digest())
        try:
            return cipher.decrypt(bytes(12), sealed[32 : len(sealed) - (SEAL_OVERHEAD - 48)], info)
        except Exception as error:
            raise RemoteError(Reason.BAD_SEAL) from error

    ed25519 = suites._SCHEMES[ED25519]
    with (
        mock.patch.dict(suites._SCHEMES, {COMPOSITE: ed25519}),
        mock.patch.object(wraps, "seal_to", seal),
        mock.patch.object(SealingKey, "open", open),
    ):
        yield


class SharedFolds:
    """The layer, whose decisions over one set of acts are made once for all devices."""

    def __init__(self) -> None:
        self.layer: Layer = replace(LAYER, finish=self._finish)
        self._found: dict[frozenset[str], Any] = {}

    def _finish(self, state: Any) -> tuple[Any, Mapping[BlockId, str]]:
        if state is None:
            return None, {}
        acts = frozenset(state["acts"].get(state["chain"].hex(), ()))
        if acts not in self._found:
            if len(self._found) > 100:
                self._found.clear()
            self._found[acts] = LAYER.finish(state)
        return cast("tuple[Any, Mapping[BlockId, str]]", self._found[acts])


class PeerLog:
    """The port of an identity's work on a simulated peer: see `identities.log.Log`."""

    def __init__(
        self, sim: Simulation, folds: SharedFolds, now_s: Callable[[], float], peer: Peer, signer: Signer
    ) -> None:
        self._sim = sim
        self._folds = folds
        self._now_s = now_s
        self.peer = peer
        self._signer = signer
        self._view: View | None = None
        self._life = -1
        self._first = folded_of_genesis(sim.genesis_block)
        self.wanted: dict[bytes, None] = {}
        self.awaited: Callable[[], Collection[bytes]] = tuple
        self.forgotten = 0

    # --- what the peer tells ---------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        if self._view is None or self._life != self.peer._life:
            self._view, self._life = View(self._folds.layer, self.peer.store), self.peer._life
            self._view.arrived()
        return self._view

    def told(self, change: Change) -> bool:
        """Takes in a change; whether there is something to be done."""
        view, is_news = self.view, isinstance(change, Arrived | Revised)
        match change:
            case Arrived(blocks):
                view.arrived(blocks)
            case Revised(ids):
                view.revised(ids)
            case Fetched(cids, missing):
                for cid in () if missing else cids:
                    self.wanted.pop(cid, None)
                    is_news = is_news or cid in self.awaited()
            case Met() | Synced():
                for wanted in [*self.wanted]:
                    self._sim.timeline.after(0.0, self._fetch, wanted)
        return is_news

    def _fetch(self, cid: bytes, again_s: float = 0.0) -> None:
        """Asks who is there, and again after a while, as the node does."""
        if self.peer.is_up and cid in self.wanted:
            self.peer.feed(Fetch((Cid(cid),), MEMBERS))
            if again_s:
                self._sim.timeline.after(again_s, self._fetch, cid, min(2 * again_s, 60.0))

    # --- the port --------------------------------------------------------------------------------------------------

    @property
    def id(self) -> BlockId:
        return self._sim.genesis.id

    @property
    def writer(self) -> bytes:
        return self._signer.key

    def folded(self) -> Folded:
        return cast("Folded | None", self.view.value) or self._first

    def block(self, id: bytes) -> Block:
        if id == self.id:
            return self._sim.genesis_block
        encoded = self.peer.store.encoded((BlockId(id),))
        if not encoded:
            raise NotFoundError("there is no such block")
        return self._sim.read(encoded[BlockId(id)], BlockId(id))

    def block_of(self, chain: bytes, id: bytes) -> Block | None:
        return None

    def append(self, kind: str, payload: bytes, seen: Collection[bytes]) -> Block:
        one = draft(payload, type=PREFIX + kind)._replace(parents=tuple(map(BlockId, seen)))
        return self._append(one, lambda block: require_obeyed(self.view.foresee(block)))

    def _append(self, one: Draft, check: Callable[[Block], None] | None = None) -> Block:
        self.peer.replica.shunned = self.view.removed
        time_ms = int(1000 * self._now_s())
        return self.peer.append([one], self._signer, time_ms, self._admission(self.writer), check)[0]

    def _admission(self, key: bytes) -> BlockId | None:
        for row in self.peer.store.query(Query(type=ADMIT), newest_first=False, limit=1 << 20):
            if key in read_admit(decode_block(row.encoded, row.id)):
                return row.id
        return None

    def write_with(self, signer: Signer) -> None:
        self._signer = signer

    def admit(self, *keys: bytes) -> None:
        fresh = [key for key in keys if self._admission(key) is None]
        if fresh:
            self._append(draft(encode_admit(fresh), type=ADMIT))

    def keep(self, data: bytes) -> Cid:
        cid = Cid.of(data, RAW_PREFIX)
        self.peer.store.put_side(cid, data, MEMBERS)
        return cid

    def kept(self, cid: bytes) -> bytes | None:
        return self.peer.store.side(Cid(cid))

    def want(self, cid: bytes) -> None:
        if cid not in self.wanted:
            self.wanted[cid] = None
            self._sim.timeline.after(0.0, self._fetch, cid, 0.5)

    def share_with(self, node_keys: Collection[bytes]) -> None:
        self.peer.replica.sync.lets[MEMBERS] = frozenset(node_keys)

    @property
    def kept_count(self) -> int:
        """How many objects are held."""
        return len(vars(self.peer.store)["_side"])

    def forget(self, cids: Collection[bytes]) -> None:
        self.forgotten += len(self.peer.store.has_side([*map(Cid, cids)]))
        self.peer.store.drop_side([*map(Cid, cids)], labelled=True)
        for cid in cids:
            self.wanted.pop(cid, None)
