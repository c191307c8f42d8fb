"""How a command reaches its node: through the local socket when the directory is in use, else by opening it itself.

Invariants: the same verbs answer either way; a directory is made only by those who may, and one that was made for what
then failed is removed. The library is loaded only when the directory is opened here.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from frontends.directory import holds_node, socket_path
from frontends.failures import EXIT_CODES, FailedError
from frontends.forms import Form
from frontends.local_socket import ask, dial
from frontends.options import KUBO, directory_of
from frontends.telling import warn
from frontends.unlocking import keys_of

if TYPE_CHECKING:
    from identities import Identities
    from walytis_core import Node


def open_node(directory: Path, *, online: bool, kubo: str | None = None) -> Node:
    """Opens a directory in this process.

    Args:
        directory: The data directory.
        online: Whether to meet peers; without, no network is loaded.
        kubo: The RPC of the Kubo daemon by which to meet them; None for the embedded libp2p.

    Raises:
        FailedError: Its keys are sealed, and nobody gives the passphrase.
    """
    from walytis_core import Node  # noqa: PLC0415 - `walytis --help` and the socket's callers do without

    keys = keys_of(directory)
    if not online:
        from frontends.offline import Offline  # noqa: PLC0415 - loads the library

        return Node.open(directory, network=Offline(), keys=keys)
    if kubo is None:
        return Node.open(directory, keys=keys)
    from frontends.kubo import network_on  # noqa: PLC0415 - loads the library

    return Node.open(directory, network=network_on(kubo), keys=keys)


def answers(
    directory: Path,
    verb: str,
    arguments: Form,
    *,
    online: bool = False,
    kubo: str | None = None,
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
        kubo: The Kubo daemon by which they are met then; it has to be there.
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
    yield from _answer_here(directory, verb, arguments, online=online, kubo=kubo, content=content)


def mention_other_network(data_dir: Path | None, kubo: str | None, *, as_json: bool = False) -> None:
    """Says so where a daemon was named, and a node that is running already is not on it: what that one is on counts.

    Args:
        data_dir: The directory that was named.
        kubo: The daemon that was named.
        as_json: Says it as a JSON line.
    """
    if kubo is None or (found := running_on(directory_of(data_dir))) is None:
        return
    from frontends.kubo import url_of  # noqa: PLC0415 - loads the library

    wanted, actual = url_of(kubo), found["kubo"]
    if actual != wanted:
        what = "libp2p of its own" if actual is None else f"the Kubo daemon at {actual}"
        hint = f"Stop it, and start {run_command(kubo)}."
        warn(
            f"The node of this directory runs already, on {what}: --kubo changes nothing.",
            hint,
            data_dir,
            as_json=as_json,
        )


def run_command(kubo: str | None) -> str:
    """The command that keeps a node on this network online, to be typed where this one was."""
    if kubo is None or os.environ.get(KUBO) == kubo:
        return "`walytis run`"
    from frontends.kubo import url_of  # noqa: PLC0415 - loads the library

    return f"`walytis run --kubo {shlex.quote(url_of(kubo))}`"


def is_on_daemon(data_dir: Path | None, kubo: str | None) -> bool:
    """Whether the node of a directory goes online by a Kubo daemon: where it runs already, that one counts."""
    found = running_on(directory_of(data_dir))
    return (kubo if found is None else found["kubo"]) is not None


def running_on(directory: Path) -> Form | None:
    """What the running node of a directory is on: under `kubo` the daemon's RPC, or None; None where no node runs."""
    connection = dial(socket_path(directory))
    if connection is None:
        return None
    try:
        (found,) = ask(connection, "network", {})
    except FailedError:  # it is of an older version, or on its way out
        return {"kubo": None}
    return found


def _answer_here(
    directory: Path, verb: str, arguments: Form, *, online: bool, kubo: str | None, content: BinaryIO | None
) -> Iterator[Form]:
    from frontends.calls import Call, perform  # noqa: PLC0415 - what follows loads the library
    from frontends.verbs import ON_IDENTITIES, VERBS  # noqa: PLC0415 - the same

    made = [path for path in (directory, *directory.parents) if not path.exists()]
    with (
        ExitStack() as afterwards,
        _opened(directory, online=online, kubo=kubo) as node,
        _at_work(node, needed=online or verb.startswith(ON_IDENTITIES) or _is_theirs(node, arguments)) as identities,
    ):
        call = Call(node, stays_online=False, content=content, identities=identities)
        try:
            if online and kubo is not None:
                node.addresses()  # who names a daemon is told at once that it will not do
            yield from perform(VERBS, verb, call, arguments)
        finally:
            call.leave()
            if made and not node.chains():
                afterwards.callback(_remove, directory, made)


def _is_theirs(node: Node, arguments: Form) -> bool:
    """Whether a command is about a chain that an identity's devices write: with their keys, which come from there."""
    from walytis_core import NotFoundError, StorageError  # noqa: PLC0415 - loaded by now

    if (chain := arguments.get("chain")) is None:
        return False
    try:
        policy = node.chain(chain).policy
    except (NotFoundError, StorageError):  # the verb says so
        return False
    return policy.readers.startswith("did:") or b"identities/" in policy.data


def _at_work(node: Node, *, needed: bool) -> AbstractContextManager[Identities | None]:
    """The identities of a node: a node that is online meets the members of those that read its chains by them."""
    if not needed:
        return nullcontext()
    from identities import Identities  # noqa: PLC0415 - takes time to load

    return Identities(node)


def _remove(directory: Path, made: list[Path]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for parent in made[1:]:
        with suppress(OSError):  # something else is in it by now
            parent.rmdir()


def _opened(directory: Path, *, online: bool, kubo: str | None) -> Node:
    from walytis_core import InUseError  # noqa: PLC0415 - loaded by now

    try:
        return open_node(directory, online=online, kubo=kubo)
    except InUseError as error:
        hint = "Close the other program; only `walytis run` answers other commands while it has a directory open."
        raise FailedError("InUseError", str(error), hint, EXIT_CODES["LocalError"]) from error
