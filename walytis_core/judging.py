"""The layers of one chain at work: their views are kept up to date, and feeds are told what changed.

A node's layers see each commit before feeds do, so that a feed's event carries the standing that the block has then.
Runs under the engine's lock; a node without layers pays nothing. What counts is decided in `view.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.engine import Engine
from walytis_core.errors import InUseError, NotFoundError, StorageError
from walytis_core.events import Arrived, Change, Revised
from walytis_core.feed import Feed
from walytis_core.layer import Key, Layer, by_prefix, prefix_of
from walytis_core.past import Others
from walytis_core.standing import OBEYED, Standing, require_obeyed
from walytis_core.store.port import Position
from walytis_core.view import UNFOLDED, View

Answer = TypeVar("Answer")


class LayerView:
    """A layer's state on one chain, as it is when asked. See `Layer` for what these mean.

    Once the chain is closed or deleted here, all of it raises `ClosedError`; and `StorageError` while the disk refuses.

    Args:
        require_open: Raises `ClosedError` once there is nothing to look at any more; called before the lock is touched.
        lock: Held during one look.
        current: Gives the view, up to date.
    """

    def __init__(self, require_open: Callable[[], None], lock: threading.RLock, current: Callable[[], View]) -> None:
        self._require_open = require_open
        self._lock = lock
        self._current = current

    @property
    def state(self) -> Any:
        """The fold of the layer's obeyed blocks."""
        self._require_open()
        with self._lock:
            return self._current().state

    @property
    def value(self) -> Any:
        """What the layer's `finish` makes of the state. Raises `LocalError` when `finish` fails."""
        self._require_open()
        with self._lock:
            return self._current().value

    def state_of(self, key: Key) -> Any:
        """The state of one part, for a layer with `key`."""
        self._require_open()
        with self._lock:
            return self._current().state_of(key)

    def look(self, key: Key, glance: Callable[[Any], Answer]) -> Answer:
        """What `glance` makes of the value of one part, which does not change meanwhile: for one that is not copied."""
        self._require_open()
        with self._lock:
            return glance(self._current().value_of(key))

    def entries(self, key: Key, after: Position | None = None) -> list[tuple[Position, Standing]]:
        """The next few hundred blocks that touch a part, in canonical order, each with its standing; none at the end."""
        self._require_open()
        with self._lock:
            return self._current().entries(key, after)

    def value_of(self, key: Key) -> Any:
        """The value of one part, for a layer with `key`. Raises `LocalError` when `finish` fails."""
        self._require_open()
        with self._lock:
            return self._current().value_of(key)


class Judging:
    """The views of a chain's layers.

    Args:
        layers: The node's layers.
        others: Gives the other chains of the node.
        feeds: The open feeds, which are told once the views are up to date.
        require_open: Raises `ClosedError` once the chain is closed or deleted.
    """

    def __init__(
        self,
        engine: Engine,
        layers: Sequence[Layer],
        others: Others | None,
        feeds: Collection[Feed],
        require_open: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._require_open = require_open
        self._feeds = feeds
        self._layers = by_prefix(layers)
        self._others = others
        self._views: dict[str, View] = {}
        self._open()
        engine.listen(self._changed)

    def _open(self) -> None:
        """Makes the views from what is stored, and has them catch up."""
        self._is_behind = True
        self._views = {prefix: View(layer, self._engine.store, self._others) for prefix, layer in self._layers.items()}
        for view in self._views.values():
            view.arrived()
        self._is_behind = False
        self._shun()

    def _catch_up(self) -> None:
        """Before anything is asked: the disk may have refused when the views were told last."""
        if self._is_behind:
            self._open()

    def _current(self, prefix: str) -> View:
        if self._is_behind:
            self._open()
        return self._views[prefix]

    def standing(self, id: BlockId) -> Standing:
        """What the block's layer makes of it."""
        with self._engine.exclusive():
            self._catch_up()
            meta = self._engine.store.metas((id,)).get(id)
            if meta is None:
                raise NotFoundError("this chain holds no such block here")
            view = self._views.get(prefix_of(meta.type))
            if view is None:
                return OBEYED if meta.folded else UNFOLDED
            return view.standing(id)

    def view(self, prefix: str) -> LayerView:
        """The view of a layer. Raises `NotFoundError`."""
        if prefix not in self._views:
            raise NotFoundError(f"this node has no layer {prefix}", hint="Give it to Node.open(layers=[...]).")
        return LayerView(self._require_open, self._engine.exclusive(), partial(self._current, prefix))

    def use(self, layer: Layer) -> LayerView:
        """Adds a layer, if it is not there: its view is made of what is stored. Blocks until it has caught up.

        Raises:
            InUseError: Another layer, or another version of this one, has the prefix.
        """
        with self._engine.exclusive():
            self._catch_up()
            known = self._layers.get(layer.prefix)
            if known is None:
                view = View(layer, self._engine.store, self._others)
                view.arrived()
                self._layers[layer.prefix], self._views[layer.prefix] = layer, view
                self._shun()
            elif known.version != layer.version:
                raise InUseError(
                    f"this chain is judged by version {known.version} of layer {layer.prefix} already",
                    hint="Use one version of a layer, and one rule, in all of the program.",
                )
            return self.view(layer.prefix)

    @property
    def asks_others(self) -> bool:
        """Whether a check has ever looked at another chain, so that `resolved` may find something."""
        return any(view.asks_others for view in self._views.values())

    def require_obeyed(self, block: Block) -> None:
        """Refuses an own block, before it is written, that its layer would not obey; under the engine's lock.

        Raises:
            NotAllowedError: It would be void.
            UnavailableError: It would wait for blocks that are not held here, or are damaged.
            StorageError: The disk refused.
        """
        self._catch_up()
        view = self._views.get(prefix_of(block.type))
        if view is not None:
            require_obeyed(view.foresee(block))

    def resolved(self, chain: BlockId) -> None:
        """Another chain of the node took blocks: what waits for it is checked again."""
        with self._engine.exclusive():
            self._catch_up()
            self._is_behind = True  # unless all of it is done: a view that the disk refused is not to be gone on with
            changed = [id for view in self._views.values() for id in view.resolved(chain)]
            self._is_behind = False
            self._revised(changed)

    def save(self) -> None:
        """Writes the views durably; not those that the disk has refused, which are made anew."""
        with self._engine.exclusive():
            for view in () if self._is_behind else self._views.values():
                view.save()

    def _changed(self, change: Change) -> None:
        changed: list[BlockId] = []
        try:
            changed = self._update(change)
        except StorageError:  # the blocks are stored; the views catch up when the disk takes writes again
            self._is_behind = True
        self._tell(change)
        self._revised(changed)

    def _tell(self, change: Change) -> None:
        for feed in tuple(self._feeds):
            feed.tell(change)

    def _update(self, change: Change) -> list[BlockId]:
        self._catch_up()
        changed: list[BlockId] = []
        for view in self._views.values():
            match change:
                case Arrived(blocks):
                    changed.extend(view.arrived(blocks))
                case Revised(ids):
                    changed.extend(view.revised(ids))
        return changed

    def _revised(self, ids: Sequence[BlockId]) -> None:
        if ids:
            self._shun()
            self._tell(Revised(tuple(ids)))

    def _shun(self) -> None:
        gone = [view.removed for view in self._views.values() if view.layer.removed is not None]
        self._engine.replica.shunned = frozenset().union(*gone)
