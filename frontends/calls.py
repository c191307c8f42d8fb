"""A call of a verb: what is asked, what comes with it, and how its answers are had one by one.

A verb is a plain function `verb(call, **arguments)` that gives JSON objects: one (a dict), or several as they come (an
iterator). Invariants: the same verb functions answer in process and behind the local socket, so both give the same
output; a verb that waits ends soon after its caller is gone; an answer counts as taken only when the next is asked for.
"""

from __future__ import annotations

import inspect
import io
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from frontends.failures import FailedError
from frontends.forms import Form

if TYPE_CHECKING:
    from identities import Identities
    from walytis_core import Node

Verb = Callable[..., "Form | Iterator[Form]"]


class Call:
    """One call, as a verb sees it.

    Args:
        node: The open node.
        stays_online: Whether the node goes on serving peers after this call.
        content: The bytes that came with the call.
        identities: The identities of the node, at work; None for verbs that need none.
    """

    def __init__(
        self,
        node: Node,
        *,
        stays_online: bool,
        content: BinaryIO | None = None,
        identities: Identities | None = None,
    ) -> None:
        self.node = node
        self._identities = identities
        self.stays_online = stays_online
        self.content: BinaryIO = content or io.BytesIO()
        self._lock = threading.Lock()
        self._is_gone = False
        self._callbacks: list[Callable[[], object]] = []

    @property
    def identities(self) -> Identities:
        """The identities of the node."""
        if self._identities is None:
            raise RuntimeError("a verb on identities was called without them")
        return self._identities

    @property
    def has_identities(self) -> bool:
        """Whether they are at work: always, where a chain is named that their devices write."""
        return self._identities is not None

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._is_gone

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Has `callback` called, from any thread, once the caller is gone; at once when it is already."""
        with self._lock:
            if not self._is_gone:
                self._callbacks.append(callback)
                return
        callback()

    def leave(self) -> None:
        """The caller is gone."""
        with self._lock:
            self._is_gone = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def perform(
    verbs: Mapping[str, Verb], name: str, call: Call, arguments: Mapping[str, Any]
) -> Generator[Form, None, None]:
    """Performs a verb by its name, with arguments that may come from another process.

    Raises:
        FailedError: There is no such verb, or it takes other arguments.
        WalytisError: What the verb fails with.
    """
    verb = verbs.get(name)
    if verb is None:
        raise FailedError.usage(
            f"there is no command {name!r}", "Both ends must be of one version: restart `walytis run`."
        )
    try:
        inspect.signature(verb).bind(call, **arguments)
    except TypeError as error:
        raise FailedError.usage(
            f"{name}: {error}", "Both ends must be of one version: restart `walytis run`."
        ) from error
    answers = verb(call, **arguments)
    if isinstance(answers, dict):
        yield answers
    else:
        yield from answers
