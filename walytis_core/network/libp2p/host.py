"""Builds the py-libp2p host: TCP, Noise and our muxer, nothing else; and keeps a stranger from stopping it.

All overrides of py-libp2p's host and swarm stand here, each with its reason. They fit one version, so another one is
refused. The file knows no gossip (`gossip.py`) and no chains.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, cast

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, ISecureConn, ISecureTransport
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from walytis_core.errors import UnavailableError
from walytis_core.network.libp2p.wire import Wire
from walytis_core.network.libp2p.yamux import PROTOCOL, Muxer

__all__ = ["Host", "build_host", "forget_peer", "listening_addresses"]

VERSION = "0.8.1"
MAX_CONNECTIONS = 128
MAX_ACCEPTED = 96  # of them; the rest is for peers that we dial
HANDSHAKE_WAIT_S = 10.0
CLOSE_WAIT_S = 1.0


class _Muxers(MuxerMultistream):
    """py-libp2p always takes its own Yamux, whatever muxer it was given."""

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return Muxer(Wire(conn), peer_id)


class _Swarm(Swarm):
    """The swarm, with what would wear it out taken away."""

    async def _do_handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr, failure_event: Any
    ) -> None:
        # py-libp2p keeps the place and the task of each accepted connection until the swarm stops: a node that
        # has accepted `MAX_ACCEPTED` connections in its life would accept no more
        raw = RawConnection(read_write_closer, initiator=False)
        try:
            muxer = cast(Muxer, await self.upgrade_inbound_raw_conn(raw, maddr))
            await muxer.event_closed.wait()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_WAIT_S):
                await raw.close()

    async def notify_disconnected(self, conn: INetConn) -> None:
        await self._notify("disconnected", conn)  # without the auto-connector, which would remember every stranger

    def _select_connection(self, connections: list[INetConn], peer_id: ID) -> INetConn:
        return connections[-1]  # the newest: of a peer that came back, an older one may be dead and not yet noticed


class _Idle(AutoConnector):
    """py-libp2p would dial every address that strangers tell, to have some connections; whom to dial is the node's."""

    async def start(self) -> None: ...

    async def maybe_connect(self) -> None: ...


class Host(BasicHost):
    """The host; a stream that fails ends alone, and addresses are worked out once."""

    _known: list[Multiaddr] | None = None

    def get_addrs(self) -> list[Multiaddr]:
        """The addresses to tell others; py-libp2p asks with every gossip message, and it takes 0.2 ms."""
        return super().get_addrs() if self._known is None else self._known

    def fix_addresses(self) -> None:
        """Says that all sockets listen: the addresses do not change any more."""
        self._known = super().get_addrs()

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        # an error that leaves this function stops the whole swarm, and a peer's garbage can cause one anywhere below;
        # the node's own handlers run elsewhere (`Libp2pNetwork`), so nothing of ours is hidden
        try:
            await super()._swarm_stream_handler(net_stream)
        except Exception:  # a task boundary: the stranger's stream ends, not the node
            logging.getLogger(__name__).debug("a stream of a peer failed", exc_info=True)
            await net_stream.reset()


def build_host(seed: bytes) -> Host:
    """A host for a node key, not yet running.

    Raises:
        UnavailableError: Another version of py-libp2p is installed.
    """
    _check_version()
    _quieten()
    key = create_new_key_pair(seed)
    noise_key = create_noise_key_pair()
    security = {NOISE: cast(ISecureTransport, Noise(key, noise_privkey=noise_key.private_key))}
    upgrader = TransportUpgrader(security, {TProtocol(PROTOCOL): Muxer})
    upgrader.muxer_multistream = _Muxers({TProtocol(PROTOCOL): Muxer})
    host = Host(
        _build_swarm(key, upgrader),
        addrs_factory=_advertised,
        disable_identify_address_discovery=True,  # what strangers say about our address is not evidence
    )
    host.remove_stream_handler(ID_PUSH)  # peers are asked who they are once; they need not push
    return host


def forget_peer(host: Host, peer: ID) -> None:
    """Drops what is kept about a peer that is gone: strangers would fill the memory, and a restarted peer is new."""
    store = cast(PeerStore, host.get_peerstore())
    store.peer_data_map.pop(peer, None)
    store.peer_record_map.pop(peer, None)


def _build_swarm(key: KeyPair, upgrader: TransportUpgrader) -> Swarm:
    peer = ID.from_pubkey(key.public_key)
    store = PeerStore()
    store.add_key_pair(peer, key)
    config = ConnectionConfig(
        max_connections=MAX_CONNECTIONS,
        high_watermark=MAX_CONNECTIONS,
        low_watermark=0,
        min_connections=0,
        inbound_upgrade_timeout=HANDSHAKE_WAIT_S,
        outbound_upgrade_timeout=HANDSHAKE_WAIT_S,
    )
    swarm = _Swarm(peer, store, upgrader, [TCP()], retry_config=RetryConfig(max_retries=0), connection_config=config)
    swarm.auto_connector = _Idle(swarm)
    swarm._inbound_limiter = trio.CapacityLimiter(MAX_ACCEPTED)
    return swarm


def _advertised(listening: list[Multiaddr]) -> list[Multiaddr]:
    """Addresses others can dial: those of the interfaces for a wildcard, loopback last."""
    found = [one for address in listening for one in expand_wildcard_address(address)]
    return sorted(found, key=_is_loopback)


def _is_loopback(address: Multiaddr) -> bool:
    return str(address).startswith(("/ip4/127.", "/ip6/::1/"))


def _check_version() -> None:
    installed = version("libp2p")
    if installed != VERSION:
        raise UnavailableError(
            f"This version needs py-libp2p {VERSION}, and {installed} is installed.",
            hint=f"Install libp2p=={VERSION}: other versions have other internals.",
        )


def _quieten() -> None:
    """Keeps py-libp2p from writing to the terminal; who wants its log sets the level of the logger ``libp2p``."""
    log = logging.getLogger("libp2p")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
    # this module calls `logging.debug` and the like, which configure the root logger of the whole program
    vars(swarm_connection)["logging"] = logging.getLogger(swarm_connection.__name__)


def listening_addresses(host: Host) -> Sequence[str]:
    """The addresses under which the host is reached, each with its peer id."""
    return [str(address) for address in host.get_addrs()]
