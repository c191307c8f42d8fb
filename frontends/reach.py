"""How a command reaches its node: through the local socket when the directory is in use, else by opening it itself.

Invariants: the same verbs answer either way; a directory is made only by those who may, and one that was made for what
then failed is removed. The library is loaded only when the directory is opened here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from frontends.directory import holds_node, socket_path
from frontends.failures import EXIT_CODES, FailedError
from frontends.forms import Form
from frontends.local_socket import ask, dial

if TYPE_CHECKING:
    from walytis_core import Node


def open_node(directory: Path, *, online: bool) -> Node:
    """Opens a directory in this process.

    Args:
        directory: The data directory.
        online: Whether to meet peers; without, no network is loaded.
    """
    from walytis_core import Node  # noqa: PLC0415 - `walytis --help` and the socket's callers do without

    if online:
        return Node.open(directory)
    from frontends.offline import Offline  # noqa: PLC0415 - loads the library

    return Node.open(directory, network=Offline())


def answers(
    directory: Path,
    verb: str,
    arguments: Form,
    *,
    online: bool = False,
    makes: bool = False,
    check: Callable[[], object] | None = None,
    paced: bool = False,
    content: BinaryIO | None = None,
) -> Iterator[Form]:
    """Has a verb performed, by the running node of this directory or here.

    Args:
        directory: The data directory.
        verb: Its name.
        arguments: JSON data.
        online: Whether peers must be met when the directory is opened here.
        makes: Whether a node is made in a directory that holds none.
        check: Called before the directory is opened here: raises what is wrong with the arguments.
        paced: Whether an answer counts as taken only when the next one is asked for.
        content: Bytes that go with the call.

    Raises:
        FailedError: What the verb failed with.
        WalytisError: The same, when it ran here.
    """
    connection = dial(socket_path(directory))
    if connection is not None:
        yield from ask(connection, verb, arguments, content=content, paced=paced)
        return
    if not makes and not holds_node(directory):
        raise FailedError(
            "NotFoundError", f"there is no node in {directory}",
            "`walytis create NAME` or `walytis join INVITATION` makes one; --data-dir names another directory.",
            EXIT_CODES["LocalError"],
        )  # fmt: skip
    if check is not None:
        check()
    yield from _answer_here(directory, verb, arguments, online=online, content=content)


def _answer_here(
    directory: Path, verb: str, arguments: Form, *, online: bool, content: BinaryIO | None
) -> Iterator[Form]:
    from frontends.calls import Call, perform  # noqa: PLC0415 - what follows loads the library
    from frontends.verbs import VERBS  # noqa: PLC0415 - the same

    made = [path for path in (directory, *directory.parents) if not path.exists()]
    with ExitStack() as afterwards, _opened(directory, online=online) as node:
        call = Call(node, stays_online=False, content=content)
        try:
            yield from perform(VERBS, verb, call, arguments)
        finally:
            call.leave()
            if made and not node.chains():
                afterwards.callback(_remove, directory, made)


def _remove(directory: Path, made: list[Path]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for parent in made[1:]:
        with suppress(OSError):  # something else is in it by now
            parent.rmdir()


def _opened(directory: Path, *, online: bool) -> Node:
    from walytis_core import InUseError  # noqa: PLC0415 - loaded by now

    try:
        return open_node(directory, online=online)
    except InUseError as error:
        hint = "Close the other program; only `walytis run` answers other commands while it has a directory open."
        raise FailedError("InUseError", str(error), hint, EXIT_CODES["LocalError"]) from error
