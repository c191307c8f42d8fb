"""What each command does: one function per verb, from an open node to JSON objects.

The same functions run in the process of a command and behind the local socket of `walytis run` (see `calls.py`).
Invariants: a verb prints nothing and asks nothing; what it waits for ends when the caller is gone; a stream of blocks
holds one page in memory. Knows neither the terminal nor the socket.
"""

from __future__ import annotations

import itertools
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from frontends.calls import Call, Verb
from frontends.devices import DEVICE_VERBS
from frontends.failures import EXIT_CODES, FailedError
from frontends.finding import chain_of, find_author, find_block, find_invitation
from frontends.forms import (
    Form,
    block_form,
    chain_form,
    handed_on_form,
    invitation_form,
    links_form,
    plain,
    status_form,
    time_text,
)
from frontends.groups import GROUP_VERBS, writers
from frontends.identities import IDENTITY_VERBS, held_identities
from frontends.objects import OBJECT_VERBS, rule_data
from frontends.pieces import POLL_S, awaited, pieces
from frontends.transfer import export, import_

if TYPE_CHECKING:
    from walytis_core import Block, Chain

UP: Final = "up"  # what a network that works says


# --- chains ------------------------------------------------------------------------------------------------------


def list_chains(call: Call) -> Form:
    """The chains of the directory, and those that cannot be opened."""
    return {"chains": [chain_form(chain) for chain in call.node.chains()], "damaged": _damaged(call)}


def create(
    call: Call, *, name: str, readers: str = "secret", invited_writers: bool = False, objects: str | None = None
) -> Form:
    """A new chain; with `objects`, its genesis names the rule of its objects."""
    writers: Any = [] if invited_writers else "anyone"
    return chain_form(call.node.create_chain(name, writers=writers, readers=readers, data=rule_data(objects)))


def delete(call: Call, *, chain: str, dry_run: bool = False) -> Form:
    """Removes a chain from this directory, also one that cannot be opened; with `dry_run` only says what it would remove."""
    damaged = [form for form in _damaged(call) if chain in {form["name"], form["id"]}]
    form = damaged[0] if damaged else chain_form(_plain_chain(call, chain))
    if dry_run:
        return {"would_delete": form}
    call.node.delete_chain(form["id"])
    return {"deleted": form}


def _plain_chain(call: Call, text: str) -> Chain:
    """A chain that is no identity's: with that its keys go."""
    found = chain_of(call, text)
    if call.has_identities and any(known.chain.id == found.id for known in held_identities(call)):
        hint = f"`walytis id delete {shlex.quote(found.name)}` deletes it with its keys."
        raise FailedError("NotAllowedError", f"the chain {found.name} is an identity's", hint, EXIT_CODES["LocalError"])
    return found


def _require_no_identity(chain: Chain) -> None:
    """An identity's chain carries its events and nothing else."""
    if not chain.policy.data:
        return
    from identities.checking import identity_of  # noqa: PLC0415 - only where it may be one
    from walytis_core import RemoteError  # noqa: PLC0415 - loaded already by whoever opened the node

    with suppress(RemoteError):
        identity_of(chain.genesis)
        name = shlex.quote(chain.name)
        hint = f"`walytis id create-chain {name} NAME` makes one for its members to write."
        raise FailedError("NotAllowedError", f"the chain {chain.name} is an identity's", hint, EXIT_CODES["LocalError"])


def rename(call: Call, *, chain: str, name: str) -> Form:
    """Changes what a chain is called here."""
    found = chain_of(call, chain)
    call.node.rename(found, name)
    return chain_form(found)


def status(call: Call, *, chain: str | None = None) -> Form:
    """How the node and its chains do: of one chain, or of all."""
    node = call.node.stats
    return {
        "running": call.stays_online,
        "online": call.stays_online and node.network == UP,
        "node": plain(node),
        "chains": [chain_form(each) | {"status": status_form(each.status())} for each in _chains(call, chain)],
        "damaged": _damaged(call) if chain is None else [],
    }


def verify(call: Call, *, chain: str | None = None) -> Form:
    """Checks every block of one chain, or of all."""
    reports = [chain_form(each) | plain(each.verify()) for each in _chains(call, chain)]
    damaged = _damaged(call) if chain is None else []
    is_bad = damaged or any(report["corrupt"] or report["problems"] for report in reports)
    return {"chains": reports, "damaged": damaged, "ok": not is_bad}


def _damaged(call: Call) -> list[Form]:
    return [
        {"name": call.node.name_of(id), "id": str(id), "reason": str(error), "hint": error.hint}
        for id, error in call.node.damaged().items()
    ]


def _chains(call: Call, chain: str | None) -> Sequence[Chain]:
    return call.node.chains() if chain is None else [chain_of(call, chain)]


# --- blocks ------------------------------------------------------------------------------------------------------


def append(call: Call, *, chain: str, topics: Sequence[str] = (), type: str = "", wait: float | None = None) -> Form:
    """A new block with the content that came with the call; with `wait`, how many peers had it in time."""
    found = chain_of(call, chain)
    _require_no_identity(found)
    block = found.append(call.content, topics=topics, type=type)
    form = block_form(block) | writers(call, found)(block)
    if wait is not None:
        form["peers"] = _peers_that_have(call, found, block, wait)
    return form


def _peers_that_have(call: Call, chain: Chain, block: Block, wait_s: float) -> int:
    """How many peers have a block, once one has or the time is over."""
    end = time.monotonic() + wait_s
    gone = threading.Event()
    call.when_gone(gone.set)
    while not (count := chain.holders(block)) and (left := end - time.monotonic()) > 0:
        if gone.wait(min(POLL_S, left)):
            break
    return count


def log(
    call: Call,
    *,
    chain: str,
    topic: str | None = None,
    type: str | None = None,
    author: str | None = None,
    after: str | None = None,
    before: str | None = None,
    cursor: int | None = None,
    limit: int | None = None,
    newest_first: bool = True,
) -> Iterator[Form]:
    """The blocks that meet all conditions, by arrival."""
    found = chain_of(call, chain)
    blocks = found.blocks(
        topic=topic,
        type=type,
        author=None if author is None else find_author(found, author),
        since=cursor,
        after=None if after is None else datetime.fromisoformat(after),
        before=None if before is None else datetime.fromisoformat(before),
        newest_first=newest_first,
        limit=limit,
    )
    writer = writers(call, found)
    return (block_form(block) | writer(block) for block in blocks)


def show(call: Call, *, chain: str, block: str) -> Form:
    """One block, with what it names; of long content, whether it is held here."""
    at = chain_of(call, chain)
    found = find_block(at, block)
    held = {} if found.content is None else {"held": at.has_content(found)}
    return block_form(found) | links_form(found) | held | writers(call, at)(found)


def content(call: Call, *, chain: str, block: str, timeout: float = 0.0) -> Iterator[Form]:
    """The content of a block, in pieces; what is not held is fetched from peers, which are waited for so long."""
    at = chain_of(call, chain)
    return pieces(call, at, find_block(at, block), timeout)


def graph(call: Call, *, chain: str, limit: int | None = None) -> Iterator[Form]:
    """The newest blocks and what each names."""
    for block in chain_of(call, chain).blocks(newest_first=True, limit=limit):
        form = block_form(block)
        yield {key: form[key] for key in ("id", "author", "height", "time", "topics")} | links_form(block)


def follow(
    call: Call, *, chain: str, name: str | None = None, topic: str | None = None, limit: int | None = None
) -> Iterator[Form]:
    """Blocks as they arrive; one that was given counts as acknowledged when the next is asked for."""
    from walytis_core import Arrived  # noqa: PLC0415 - loaded already by whoever opened the node

    found = chain_of(call, chain)
    writer = writers(call, found)
    with closing(found.follow(name=name, topic=topic)) as feed:
        call.when_gone(feed.close)
        arrivals = (event for event in feed if isinstance(event, Arrived))
        for event in itertools.islice(arrivals, limit):
            yield block_form(event.block, number=event.number) | writer(event.block)
            event.ack()


# --- sharing -----------------------------------------------------------------------------------------------------


def invite(
    call: Call, *, chain: str, uses: int | None = 1, expires_s: float | None = None, read_only: bool = False
) -> Form:
    """A new invitation, and whether anyone is online to honour it."""
    found = chain_of(call, chain)
    expires = None if expires_s is None else timedelta(seconds=expires_s)
    invitation = found.invite(uses=uses, expires=expires, write=not read_only)
    return {
        "invitation": str(invitation), "id": invitation.id.hex(), "chain": found.name,
        "uses": uses, "expires": time_text(invitation.expires), "served": call.stays_online,
    } | handed_on_form(invitation)  # fmt: skip


def invitations(call: Call, *, chain: str) -> Form:
    """The invitations of a chain that this node keeps."""
    return {"invitations": [invitation_form(record) for record in chain_of(call, chain).invitations()]}


def revoke(call: Call, *, chain: str, invitation: str) -> Form:
    """Takes an invitation back."""
    found = chain_of(call, chain)
    id = find_invitation(found, invitation)
    found.revoke(id)
    return {"revoked": id.hex()}


def join(call: Call, *, invitation: str, name: str | None = None, timeout: float | None = None) -> Iterator[Form]:
    """Joins a chain: its progress each time it changes, at last the chain."""
    pending = call.node.join(invitation, name=name)
    yield from awaited(call, pending, timeout, "not joined")
    yield {"event": "joined"} | chain_form(pending.result(0))


ON_IDENTITIES: Final = "id "
"""How the names of verbs on identities begin."""

VERBS: Final[Mapping[str, Verb]] = {
    **OBJECT_VERBS,
    **IDENTITY_VERBS,
    **DEVICE_VERBS,
    **GROUP_VERBS,
    "append": append,
    "content": content,
    "create": create,
    "delete": delete,
    "export": export,
    "follow": follow,
    "graph": graph,
    "import": import_,
    "invitations": invitations,
    "invite": invite,
    "join": join,
    "list": list_chains,
    "log": log,
    "rename": rename,
    "revoke": revoke,
    "show": show,
    "status": status,
    "verify": verify,
}
