"""Blocks in the daemon's store, where any IPFS user can fetch them, and blocks that the daemon fetches for us.

Pins are direct ones: a recursive one walks all the ancestry each time, and breaks the daemon's own clearing where something
below is missing. Invariants: pins that somebody else made on a whole graph are never taken away; what is fetched is checked
against its CID. Knows no chains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio

from walytis_core import car
from walytis_core.cid import Cid, is_ours
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.kubo.rpc import Rpc, RpcRefusedError, object_of
from walytis_core.network.port import PeerId
from walytis_core.portions import portions

__all__ = ["KuboCopies", "fetch"]

_PUT_BYTES: Final = 4 << 20  # in one request
_PUT_BLOCKS: Final = 1000
_URL_CIDS: Final = 100  # in one request: they stand in its URL
_URL_BYTES: Final = 8 * 1024
_WAIT_S: Final = 60.0  # for a slow disk
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

    async def put(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        """Puts blocks into the store, for as long as the daemon likes."""
        rpc = self._rpc()
        for some in portions(blocks, lambda block: len(block[1]), _PUT_BLOCKS, _PUT_BYTES):
            options = {"pin-roots": "false", "stats": "true"}
            answer = await rpc.call("dag/import", options=options, body=_car_of(some), wait_s=_WAIT_S)
            if _imported(answer) != len(some):
                raise UnavailableError(
                    "The Kubo daemon did not take all of the blocks.", hint="Look at its log and its disk."
                )

    async def pin(self, cids: Sequence[Cid], label: str) -> None:
        """Pins blocks of the store under a label, each alone; one that is pinned already gets this label."""
        await _each(self._rpc(), "pin/add", [str(cid) for cid in cids], {"recursive": "false", "name": label})

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

    async def pins(self, label: str, most: int) -> list[Cid]:
        """The blocks that have a direct pin of a label, or so many of them."""
        return await _labelled(self._rpc(), label, most, lambda _: True)

    async def unpin(self, cids: Sequence[Cid], label: str) -> None:
        """Takes the direct pins of blocks away, where they have this label."""
        rpc = self._rpc()
        labelled = await _labelled(rpc, label, len(cids), set(cids).__contains__) if cids else ()
        await _each(rpc, "pin/rm", [str(cid) for cid in labelled], {"recursive": "false"})


async def fetch(rpc: Rpc, cid: Cid) -> bytes:
    """Has the daemon fetch a block from whoever has it; raises `UnavailableError`."""
    if not is_ours(cid):
        raise UnavailableError("Nobody is asked for a CID of this kind.")
    data = await rpc.call("block/get", str(cid), max_bytes=Limits.leaf_bytes, wait_s=Limits.fetch_wait_s)
    if Cid.of(data, cid[:4]) != cid:
        raise UnavailableError(
            "The Kubo daemon gave a block that does not match its CID.", hint="Run `ipfs repo verify` on the daemon."
        )
    return data


async def _each(rpc: Rpc, command: str, cids: Sequence[str], options: dict[str, str]) -> None:
    """Pins or unpins many, in portions; where the daemon refuses a portion, one by one."""
    for some in portions(cids, len, _URL_CIDS, _URL_BYTES):
        try:
            await rpc.call(command, *some, options=options, wait_s=_WAIT_S)
        except RpcRefusedError:
            for cid in some:
                await _one(rpc, command, cid, options)


async def _one(rpc: Rpc, command: str, cid: str, options: dict[str, str]) -> None:
    try:
        await rpc.call(command, cid, options=options, wait_s=_WAIT_S)
    except RpcRefusedError as error:
        if not any(so in error.said for so in ("not pinned", "pinned recursively")):
            raise  # else it is so already, or somebody pinned the whole graph


async def _labelled(rpc: Rpc, label: str, most: int, is_wanted: Callable[[Cid], bool]) -> list[Cid]:
    """The first of those wanted that have a direct pin with a label."""
    cids: list[Cid] = []
    enough = trio.CancelScope()

    def take(line: bytes) -> None:
        match object_of(line):
            case {"Cid": str(text), "Name": str(name)} if name == label:  # it lists labels that contain this one, too
                with suppress(InvalidInputError):  # not a kind that this node puts there
                    cids.extend(cid for cid in (Cid.parse(text),) if is_wanted(cid) and len(cids) < most)
            case None:
                raise UnavailableError("The Kubo daemon does not list its pins.")
            case _:
                pass
        if len(cids) >= most:
            enough.cancel()

    with trio.move_on_after(_WAIT_S), enough:
        options = {"name": label, "type": "direct", "stream": "true"}
        await rpc.each_line("pin/ls", options=options, max_bytes=_LINE_BYTES, on_line=take)
        return cids
    if enough.cancelled_caught:
        return cids
    raise UnavailableError("The Kubo daemon does not list its pins in time.")


def _car_of(blocks: Sequence[tuple[Cid, bytes]]) -> bytes:
    """A CAR of blocks, without roots."""
    return car.write_header(()) + b"".join(car.write_section(cid, data) for cid, data in blocks)


def _imported(answer: bytes) -> int:
    """How many blocks the daemon says it took in."""
    for line in answer.splitlines():
        match object_of(line):
            case {"Stats": {"BlockCount": int(count)}}:
                return count
            case _:
                pass
    return 0
