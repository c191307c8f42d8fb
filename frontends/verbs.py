"""What each command does: one function per verb, from an open node to JSON objects.

The same functions run in the process of a command and behind the local socket of `walytis run` (see `calls.py`).
Invariants: a verb prints nothing and asks nothing; what it waits for ends when the caller is gone; a stream of blocks
holds one page in memory. Knows neither the terminal nor the socket.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from frontends.calls import Call, Verb
from frontends.finding import find_author, find_block
from frontends.forms import Form, author_text, block_form, chain_form, links_form, plain
from frontends.lines import CHUNK_BYTES

if TYPE_CHECKING:
    from walytis_core import Block, Chain

POLL_S: Final = 0.2  # how often progress is looked at


# --- chains ------------------------------------------------------------------------------------------------------


def list_chains(call: Call) -> Form:
    """The chains of the directory."""
    return {"chains": [chain_form(chain) for chain in call.node.chains()]}


def create(call: Call, *, name: str, readers: str = "secret", invited_writers: bool = False) -> Form:
    """A new chain."""
    return chain_form(call.node.create_chain(name, writers="invited" if invited_writers else "anyone", readers=readers))


def delete(call: Call, *, chain: str) -> Form:
    """Removes a chain from this directory."""
    found = call.node.chain(chain)
    form = chain_form(found)
    call.node.delete_chain(found.id)
    return {"deleted": form}


def status(call: Call, *, chain: str | None = None) -> Form:
    """How the node and its chains do: of one chain, or of all."""
    chains = [call.node.chain(chain)] if chain is not None else call.node.chains()
    return {
        "online": call.stays_online,
        "node": plain(call.node.stats),
        "chains": [chain_form(each) | {"status": plain(each.status())} for each in chains],
    }


def verify(call: Call, *, chain: str | None = None) -> Form:
    """Checks every block of one chain, or of all."""
    chains = [call.node.chain(chain)] if chain is not None else call.node.chains()
    reports = [chain_form(each) | plain(each.verify()) for each in chains]
    return {"chains": reports, "ok": not any(report["corrupt"] or report["problems"] for report in reports)}
