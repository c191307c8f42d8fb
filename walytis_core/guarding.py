"""A layer's functions, called so that nothing they raise reaches the node.

Theory: payloads come from strangers, so a bug of a layer is something that a stranger can call up. A block on which
`check`, `key` or `step` fails is void with a reason that says so: the same on every node, as all of them are pure. What
fails in `finish` or `removed` can be pinned to no block: then nobody is voided or removed by it, and whoever asks for
the value is told. A block whose past cannot be told here yet waits: that is no failure. Invariants: what comes out of
here can be saved and read back; a failure is logged without any byte of a block; `StorageError` and `ClosedError` of a
look at the past are the node's own, and pass. It folds nothing.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from walytis_core.block import Block
from walytis_core.cbor import encode
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, RemoteError, StorageError
from walytis_core.layer import Key, Layer
from walytis_core.past import Past, UnknownError
from walytis_core.standing import Failed, Obeyed, Standing, Void, Wait, from_value, to_value

_log = logging.getLogger(__name__)

_KEYS: Final = (str, bytes, type(None))
_NONE: Final[Mapping[BlockId, str]] = MappingProxyType({})
_LONG: Final = Void("a payload of this layer must be inline")


class Finished(NamedTuple):
    """What `finish` made of a state; with the reason, and nothing else, when it failed."""

    value: Any
    voids: Mapping[BlockId, str]
    failure: str | None = None


class Guarded:
    """A layer whose functions do not raise.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def key_of(self, block: Block) -> tuple[Key, Void | None]:
        """The part that a block touches, and why the block is void: where `key` fails, it is kept with part None."""
        if self._layer.key is None:
            return None, None
        try:
            key = self._layer.key(block)
            if not isinstance(key, _KEYS):
                raise TypeError("a key is text, bytes or None")
            if isinstance(key, str):
                encode(key)
        except Exception as error:  # noqa: BLE001 - the layer's own code, on a stranger's bytes
            return None, Void(self._failure("key", error))
        return key, None

    def check(self, block: Block, past: Past) -> Standing:
        """What `check` makes of a block.

        Raises:
            StorageError, ClosedError: Its past cannot be read now: no verdict.
        """
        if block.content is not None and not self._layer.long_content:
            return _LONG
        try:
            return _sound(self._layer.check(block, past))
        except (StorageError, ClosedError):
            raise
        except RemoteError as error:
            return Void(str(error))
        except UnknownError as error:
            return error.wait
        except Exception as error:  # noqa: BLE001 - the layer's own code, on a stranger's bytes
            return Void(self._failure("check", error))

    def step(self, state: Any, block: Block, past: Past | None) -> tuple[Any, Failed | Wait | None]:
        """The next state. When it fails or waits, the state that was given may be half changed, and must not be used.

        Args:
            state: The state so far.
            block: An obeyed block.
            past: Its past, for a layer that looks back.

        Raises:
            StorageError, ClosedError: The past cannot be read now.
        """
        step: Any = self._layer.step
        try:
            return (step(state, block) if past is None else step(state, block, past)), None
        except UnknownError as error:
            return None, error.wait
        except Exception as error:
            if past is not None and isinstance(error, StorageError | ClosedError):
                raise
            return None, Failed(self._failure("step", error))

    def finish(self, state: Any) -> Finished:
        """What `finish` makes of a state."""
        try:
            result: Any = self._layer.finish(state)
            value, voids = result
            if not voids and isinstance(voids, dict):
                return Finished(value, _NONE)
            if not all(isinstance(id, bytes) and isinstance(reason, str) for id, reason in voids.items()):
                raise TypeError("voids are reasons by block id")
            return Finished(value, dict(voids))
        except Exception as error:  # noqa: BLE001 - the layer's own code, on what strangers wrote
            return Finished(None, {}, self._failure("finish", error))

    def removed(self, finished: Finished) -> frozenset[bytes]:
        """The authors that the value calls removed; none when that cannot be told."""
        if self._layer.removed is None or finished.failure is not None:
            return frozenset()
        try:
            return frozenset(self._layer.removed(finished.value))
        except Exception as error:  # noqa: BLE001 - the layer's own code, on what strangers wrote
            self._failure("removed", error)
            return frozenset()

    def encoded(self, state: Any) -> bytes | None:
        """A state as bytes; None when it is no DAG-CBOR data, so that it can only be made again."""
        try:
            return encode(state)
        except Exception as error:  # noqa: BLE001 - whatever the layer's own code has made
            self._failure("state", error)
            return None

    def _failure(self, what: str, error: Exception) -> str:
        at = traceback.extract_tb(error.__traceback__)[-1]
        name = type(error).__name__
        _log.error("layer %s: %s failed with %s at %s:%s", self._layer.prefix, what, name, at.filename, at.lineno)
        return f"the layer failed on it: {name}"


def _sound(standing: object) -> Standing:
    """A standing as it will be read back. Raises anything when it is none."""
    match standing:
        case Obeyed():
            return standing
        case Void() | Wait():
            value = to_value(standing)
            if isinstance(standing, Void) is not isinstance(value, str):
                raise TypeError("a reason is text")
            encode(value)
            try:
                return from_value(value)
            except StorageError as error:
                raise TypeError("not a standing") from error
        case _:
            raise TypeError("not a standing")
