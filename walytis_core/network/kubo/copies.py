"""Copies of blocks in the daemon's block store, where any IPFS user can fetch them, and blocks fetched by the daemon.

Pins are direct ones: a recursive one walks all the ancestry each time, and breaks the daemon's own clearing where something
below is missing. Invariants: pins that somebody else made on a whole graph are never taken away; what is fetched is checked
against its CID. Knows no chains.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import trio

from walytis_core import car
from walytis_core.cid import PREFIXES, Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.kubo.rpc import Rpc, RpcRefusedError
from walytis_core.network.port import PeerId

__all__ = ["KuboCopies", "car_of", "fetch"]

_PUT_BYTES: Final = 4 << 20  # in one request
_PUT_BLOCKS: Final = 1000
_PIN_BLOCKS: Final = 100  # in one request: their CIDs stand in its URL
_WAIT_S: Final = 60.0  # for a slow disk
_LISTED: Final = 10_000  # pins that are listed, and then taken away, at a time
_LINE_BYTES: Final = 16 * 1024


class KuboCopies:
    """The block store of a daemon, as the port's `Copies`.

    Args:
        rpc: Gives the daemon's RPC; raises `UnavailableError` while the network is not running.
        holder: Gives the daemon's peer id.
    """

    def __init__(self, rpc: Callable[[], Rpc], holder: Callable[[], PeerId]) -> None:
        self._rpc = rpc
        self._holder = holder

    @property
    def holder(self) -> str:
        """The daemon's peer id."""
        return self._holder()

    async def put(self, blocks: Sequence[tuple[Cid, bytes]], *, label: str, pin: bool) -> None:
        """Puts blocks into the store; pinned under a label, or for as long as the daemon likes."""
        rpc = self._rpc()
        for some in _portions(blocks):
            options = {"pin-roots": "false", "stats": "true"}
            answer = await rpc.call("dag/import", options=options, body=car_of(some), wait_s=_WAIT_S)
            if _imported(answer) != len(some):
                raise UnavailableError(
                    "The Kubo daemon did not take all of the blocks.", hint="Look at its log and its disk."
                )
            if pin:
                await _each(rpc, "pin/add", [str(cid) for cid, _ in some], {"recursive": "false", "name": label})

    async def is_pinned(self, cid: Cid) -> bool:
        """Whether a block is pinned, alone or with all below it."""
        rpc = self._rpc()
        for kind in ("direct", "recursive"):
            try:
                await rpc.call("pin/ls", str(cid), options={"type": kind})
            except RpcRefusedError as error:
                if "not pinned" not in error.said:
                    raise
            else:
                return True
        return False

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Takes the direct pins of blocks away."""
        await _each(self._rpc(), "pin/rm", [str(cid) for cid in cids], {"recursive": "false"})

    async def unpin_all(self, label: str) -> None:
        """Takes away all direct pins of a label."""
        rpc, cids = self._rpc(), None
        while cids is None or len(cids) >= _LISTED:
            cids = await _labelled(rpc, label)
            await _each(rpc, "pin/rm", cids, {"recursive": "false"})


async def fetch(rpc: Rpc, cid: Cid) -> bytes:
    """Has the daemon fetch a block from whoever has it; raises `UnavailableError`."""
    if cid[:4] not in PREFIXES or len(cid) != len(Cid.of(b"")):
        raise UnavailableError("Nobody is asked for a CID of this kind.")
    data = await rpc.call("block/get", str(cid), max_bytes=Limits.leaf_bytes, wait_s=Limits.fetch_wait_s)
    if Cid.of(data, cid[:4]) != cid:
        raise UnavailableError(
            "The Kubo daemon gave a block that does not match its CID.", hint="Run `ipfs repo verify` on the daemon."
        )
    return data


async def _each(rpc: Rpc, command: str, cids: Sequence[str], options: dict[str, str]) -> None:
    """Pins or unpins many, in portions; where the daemon refuses a portion, one by one."""
    for at in range(0, len(cids), _PIN_BLOCKS):
        some = cids[at : at + _PIN_BLOCKS]
        try:
            await rpc.call(command, *some, options=options, wait_s=_WAIT_S)
        except RpcRefusedError as error:
            if len(some) > 1:
                for cid in some:
                    await _each(rpc, command, [cid], options)
            elif not any(so in error.said for so in ("not pinned", "pinned recursively")):
                raise  # else it is so already, or somebody pinned the whole graph


async def _labelled(rpc: Rpc, label: str) -> list[str]:
    """The CIDs of direct pins with a label, or the first of them."""
    cids: list[str] = []

    def take(line: bytes) -> None:
        match rpc.parsed(line):
            case {"Cid": str(cid), "Name": str(name)} if name == label and len(cids) < _LISTED:
                cids.append(cid)  # the daemon lists those whose label merely contains it, too
            case _:
                pass

    with trio.move_on_after(_WAIT_S):
        options = {"name": label, "type": "direct", "stream": "true"}
        await rpc.each_line("pin/ls", options=options, max_bytes=_LINE_BYTES, on_line=take)
        return cids
    raise UnavailableError("The Kubo daemon does not list its pins in time.")


def car_of(blocks: Sequence[tuple[Cid, bytes]]) -> bytes:
    """A CAR of blocks, without roots."""
    return car.write_header(()) + b"".join(car.write_section(cid, data) for cid, data in blocks)


def _portions(blocks: Sequence[tuple[Cid, bytes]]) -> Iterator[list[tuple[Cid, bytes]]]:
    some: list[tuple[Cid, bytes]] = []
    size = 0
    for cid, data in blocks:
        if some and (len(some) >= _PUT_BLOCKS or size + len(data) > _PUT_BYTES):
            yield some
            some, size = [], 0
        some.append((cid, data))
        size += len(data)
    if some:
        yield some


def _imported(answer: bytes) -> int:
    """How many blocks the daemon says it took in."""
    for line in answer.splitlines():
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            return 0
        match told:
            case {"Stats": {"BlockCount": int(count)}}:
                return count
            case _:
                pass
    return 0
