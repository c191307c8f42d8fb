"""mDNS as libp2p does it: announces this node on the local network, and dials those that announce themselves.

Decides what is said of this node (private addresses, and the peer id in them), how often the network is asked, and in
what order all of it starts and stops. Invariants: zeroconf has one thread, which is gone when `discovering` is left;
what it hears waits in a bounded queue, and is looked at once a second; a network without multicast, and whatever zeroconf
raises, ends mDNS and never the node. Whom to believe and to dial is decided in `nearby.py`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
from zeroconf import DNSOutgoing, DNSQuestion, DNSText, RecordUpdate, RecordUpdateListener, ServiceInfo, Zeroconf
from zeroconf.asyncio import AsyncZeroconf

from walytis_core.boundary import blame_nobody, for_peer
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.libp2p._foreign import foreign_errors
from walytis_core.network.libp2p.nearby import MAX_RECORD_BYTES, PREFIX, Nearby, is_near
from walytis_core.network.port import Connected, PeerId

__all__ = ["discovering"]

MAX_WAITING = 32  # TXT records that wait to be looked at, once a second; of more, the newest are kept
DIAL_WAIT_S = 15.0  # for all addresses of a peer
ASK_MIN_S, ASK_MAX_S = 1.0, 60.0
CLOSE_WAIT_S = 1.0

_SERVICE: Final = "_p2p._udp.local."
_LOOK_S: Final = 1.0
_QUERY, _TYPE_PTR, _CLASS_IN = 0, 12, 1  # RFC 1035
_log = logging.getLogger(__name__)

Dial = Callable[[Sequence[str]], Awaitable[Connected]]


@asynccontextmanager
async def discovering(
    own: PeerId, addresses: Sequence[str], connected: Callable[[], Collection[PeerId]], dial: Dial
) -> AsyncIterator[None]:
    """Announces this node, and dials those that are found, for the length of the block.

    Args:
        own: This node's peer id.
        addresses: Where it listens; those that nobody on the local network could use are not announced.
        connected: Gives the peers that are connected now.
        dial: Connects to the first of some addresses that answers; may raise `UnavailableError`.
    """
    heard: deque[bytes] = deque(maxlen=MAX_WAITING)
    stopping: Future[None] = Future()
    announced = [text for text in addresses if is_near(text.split("/")[2])][: Limits.addresses_per_peer]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_speak, announced, heard, stopping)
        nursery.start_soon(_dial_found, Nearby(own), heard, connected, dial)
        try:
            yield
        finally:
            if not stopping.done():
                stopping.set_result(None)
            nursery.cancel_scope.cancel()


async def _dial_found(
    nearby: Nearby, heard: deque[bytes], connected: Callable[[], Collection[PeerId]], dial: Dial
) -> None:
    async def one(peer: PeerId, addresses: Sequence[str]) -> None:
        with for_peer(peer, "a dial by mDNS", blame_nobody), trio.move_on_after(DIAL_WAIT_S):
            await dial(addresses)

    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(_LOOK_S)
            for _ in range(len(heard)):  # as many as there are: more come while they are read
                nearby.heard(heard.popleft())
            for peer, addresses in nearby.due(trio.current_time(), connected()):
                nursery.start_soon(one, peer, addresses)


async def _speak(announced: Sequence[str], heard: deque[bytes], stopping: Future[None]) -> None:
    try:
        if not announced:
            raise UnavailableError("this node listens on no private address")
        with foreign_errors("multicast is not to be had"):
            await trio.to_thread.run_sync(lambda: asyncio.run(_in_thread(announced, heard, stopping)))
    except UnavailableError as error:
        reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        _log.warning("mDNS does not work: %s; the node goes on without it", reason)


# --- in zeroconf's thread ----------------------------------------------------------------------------------------------


async def _in_thread(announced: Sequence[str], heard: deque[bytes], stopping: Future[None]) -> None:
    """Announces and asks until it is stopped; its loop and its sockets are its own, and gone when it returns."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: _log.debug("mDNS: %s", context["message"]))
    logging.getLogger("zeroconf").setLevel(logging.CRITICAL)  # it would log what others send
    hosts = list(dict.fromkeys(text.split("/")[2] for text in announced))
    stopped = asyncio.wrap_future(stopping)
    zeroconf = AsyncZeroconf(interfaces=hosts)
    try:
        zeroconf.zeroconf.async_add_listener(_Ear(heard), None)
        await (await zeroconf.async_register_service(_service(announced, hosts), cooperating_responders=True))
        await _ask(zeroconf.zeroconf, stopped)
    finally:
        stopped.cancel()  # else whoever stops us after an error would call into a loop that is closed
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT_S):
                await zeroconf.async_close()


class _Ear(RecordUpdateListener):
    """Keeps the TXT records of libp2p's service."""

    def __init__(self, heard: deque[bytes]) -> None:
        self._heard = heard

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        for record in (update.new for update in records):
            if (
                isinstance(record, DNSText)
                and record.key.endswith(f".{_SERVICE}")
                and record.ttl
                and len(record.text) <= MAX_RECORD_BYTES
            ):
                self._heard.append(record.text)


def _service(announced: Sequence[str], hosts: Sequence[str]) -> ServiceInfo:
    name = secrets.token_hex(16)  # at random, as the specification has it: the peer id alone tells who this is
    entries = [PREFIX + text.encode() for text in announced]
    return ServiceInfo(
        _SERVICE,
        f"{name}.{_SERVICE}",
        port=int(announced[0].split("/")[4]),
        properties=b"".join(bytes([len(entry)]) + entry for entry in entries),
        server=f"{name}.local.",
        parsed_addresses=list(hosts),
    )


async def _ask(zeroconf: Zeroconf, stopped: asyncio.Future[None]) -> None:
    """Asks who is there, at first often. zeroconf's browser is not used: it remembers every name that it is told."""
    wait_s = ASK_MIN_S
    while not stopped.done():
        question = DNSOutgoing(_QUERY)
        question.add_question(DNSQuestion(_SERVICE, _TYPE_PTR, _CLASS_IN))
        zeroconf.async_send(question)
        await asyncio.wait([stopped], timeout=wait_s)
        wait_s = min(ASK_MAX_S, 2 * wait_s)
