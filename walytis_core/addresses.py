"""Where peers were reached, and whom to dial next: a pure state machine, fed with what happened.

Decides the order in which a peer's addresses are tried, and when a peer that is away is tried again. Invariants: a
peer that is connected or being dialled is never due; at most `MAX_DIALLING` are being dialled; what peers say about
addresses is bounded in length and number, never displaces an address that worked, and an address is only ever kept
under the peer it names. What others tell of a peer (hearsay) displaces neither what is known otherwise nor a peer that
was met, is not kept across restarts, and is dialled at a bounded rate. It has no clock, no randomness and no IO: `now` is in seconds of one clock that goes on
across restarts, `jitter` a random number from 0 to 1. It knows nothing of chains or transports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from walytis_core.limits import Limits

__all__ = ["AddressBook"]

MAX_ADDRESSES = 8  # of one peer
MAX_ADDRESS_CHARS = 256
MAX_DIALLING = 8
FIRST_DELAY_S = 0.5  # from a lost connection or a first failure to the next try
MAX_DELAY_S = 300.0
MAX_DOUBLINGS = 16  # far above MAX_DELAY_S; keeps numbers small
HEARSAY_TRIES = 6  # in a row that failed, after which a peer that was only told of is forgotten
MINUTE_S = 60.0


@dataclass(slots=True)
class _Address:
    text: str
    last_ok: float | None = None
    failures: int = 0  # since it last worked
    round_trip_s: float | None = None
    is_hearsay: bool = False  # told by others than the peer, and not proven

    def rank(self) -> tuple[bool, bool, int, float, float]:
        """Smaller is better: worked before, not hearsay, failed less since, faster, worked later."""
        trip = float("inf") if self.round_trip_s is None else self.round_trip_s
        return self.last_ok is None, self.is_hearsay, self.failures, trip, -(self.last_ok or 0.0)


@dataclass(slots=True)
class _Peer:
    addresses: list[_Address] = field(default_factory=list)
    connected: bool = False
    dialling: bool = False
    tries: int = 0  # in a row that failed
    next_dial: float = 0.0
    met: float = 0.0  # when it was last connected; 0 for never, as far as this run knows

    def last_ok(self) -> float:
        return max((address.last_ok or 0.0 for address in self.addresses), default=self.met)

    def is_hearsay(self) -> bool:
        """Whether nothing but hearsay is known of it."""
        return not self.met and all(address.is_hearsay for address in self.addresses)

    def worth(self) -> tuple[bool, bool, float]:
        """Smaller is forgotten first: hearsay, then who was never met, then who was met longest ago."""
        last = max(self.met, self.last_ok())
        return not self.is_hearsay(), last > 0, last


@dataclass(slots=True)
class _Allowance:
    """So many at once, and so many again each minute."""

    most: int
    left: float
    at: float

    def refill(self, now: float) -> int:
        """How many there are."""
        self.left = min(self.most, self.left + max(0.0, now - self.at) * self.most / MINUTE_S)
        self.at = now
        return int(self.left)


class AddressBook:
    """The addresses of the peers a node has met.

    Args:
        limit: How many peers are remembered; who worked longest ago goes first.

    Example:
        >>> book = AddressBook()
        >>> book.learn("bob", ["/ip4/192.0.2.1/tcp/4001/p2p/bob"], now=10.0)
        >>> book.due(10.0)
        [('bob', ['/ip4/192.0.2.1/tcp/4001/p2p/bob'])]
        >>> book.failed("bob", now=11.0, jitter=0.5)
        >>> book.due(11.4)
        []
    """

    def __init__(self, limit: int = Limits.idle_peers_remembered) -> None:
        self._limit = limit
        self._peers: dict[str, _Peer] = {}
        self._tellers: dict[str, _Allowance] = {}
        self._dials = _Allowance(Limits.hearsay_dials_per_minute, Limits.hearsay_dials_per_minute, 0.0)

    def __len__(self) -> int:
        return len(self._peers)

    def count_told(self) -> int:
        """How many peers are known by more than hearsay, which anybody could swell."""
        return sum(not known.is_hearsay() for known in self._peers.values())

    def __contains__(self, peer: object) -> bool:
        return peer in self._peers

    def __iter__(self) -> Iterator[str]:
        return iter(self._peers)

    # --- what happened ---

    def learn(self, peer: str, addresses: Iterable[str], now: float) -> None:
        """Takes in addresses that a peer tells of itself, or a user gave; hostile ones are left out without a word."""
        heard = [text for text in _first(addresses) if _is_sound(peer, text)]
        known = self._peers.get(peer)
        if known is None:
            if not heard:
                return
            known = self._peers[peer] = _Peer(next_dial=now)
        hearsay = [address for address in known.addresses if address.is_hearsay and address.text not in heard]
        known.addresses = [address for address in known.addresses if not address.is_hearsay]
        texts = {address.text for address in known.addresses}
        fresh = [_Address(text) for text in dict.fromkeys(heard) if text not in texts]
        proven = [address for address in known.addresses if address.last_ok is not None]
        rest = [address for address in known.addresses if address.last_ok is None]
        room = MAX_ADDRESSES - len(proven)
        known.addresses = proven + ([*rest, *fresh][-room:] if room > 0 else []) + hearsay
        self._evict(keep=peer)

    def hear(self, teller: str, peer: str, addresses: Iterable[str], now: float) -> None:
        """Takes in what a peer tells of another one: little, kept apart, and so much a minute."""
        known = self._peers.get(peer)
        held = [] if known is None else known.addresses
        texts = {address.text for address in held}
        heard = dict.fromkeys(text for text in _first(addresses) if _is_sound(peer, text) and text not in texts)
        room = Limits.hearsay_addresses - sum(address.is_hearsay for address in held)
        fresh = [_Address(text, is_hearsay=True) for text in heard][: max(0, room)]
        if not fresh or not self._may_tell(teller, now):
            return
        if known is None:
            self._peers[peer] = _Peer(fresh, next_dial=now)
        else:
            known.addresses.extend(fresh)
        self._evict(keep="")

    def _may_tell(self, teller: str, now: float) -> bool:
        """Whether a peer may tell one thing more; counted for a minute after it has gone, too."""
        most = Limits.introductions_per_minute
        if teller not in self._tellers:
            full = [one for one, has in self._tellers.items() if has.refill(now) >= most]
            for one in full:
                del self._tellers[one]
        has = self._tellers.setdefault(teller, _Allowance(most, most, now))
        if not has.refill(now):
            return False
        has.left -= 1
        return True

    def connected(self, peer: str, address: str | None, now: float, *, round_trip_s: float | None = None) -> None:
        """A peer is connected: at this address, or None when it dialled us."""
        known = self._peers.setdefault(peer, _Peer())
        known.connected, known.dialling, known.tries, known.met = True, False, 0, now
        if address is not None and _is_sound(peer, address):
            entry = next((entry for entry in known.addresses if entry.text == address), None)
            if entry is None:
                entry = _Address(address)
                known.addresses = [entry, *sorted(known.addresses, key=_Address.rank)]
            entry.last_ok, entry.failures, entry.is_hearsay = now, 0, False
            entry.round_trip_s = entry.round_trip_s if round_trip_s is None else round_trip_s
            known.addresses = sorted(known.addresses, key=_Address.rank)[:MAX_ADDRESSES]
        self._evict(keep=peer)

    def disconnected(self, peer: str, now: float, *, jitter: float) -> None:
        """A peer is gone; it is tried again soon, unless no address of it is known."""
        known = self._peers.get(peer)
        if known is None:
            return
        known.connected = False
        known.next_dial = now + FIRST_DELAY_S * jitter
        if not known.addresses:
            del self._peers[peer]
        self._evict(keep="")

    def failed(self, peer: str, now: float, *, jitter: float, addresses: Sequence[str] | None = None) -> None:
        """Dialling a peer failed at these addresses, or at all of them; the next try is after twice the time."""
        known = self._peers.get(peer)
        if known is None:
            return
        known.dialling = False
        for entry in known.addresses:
            if addresses is None or entry.text in addresses:
                entry.failures += 1
        delay = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(known.tries, MAX_DOUBLINGS))
        known.tries += 1
        known.next_dial = now + delay * (0.5 + jitter)
        if known.tries >= HEARSAY_TRIES and known.is_hearsay() and not known.connected:
            del self._peers[peer]

    def forget(self, peer: str) -> None:
        """The peer is of no interest any more."""
        self._peers.pop(peer, None)

    # --- what to do ---

    def best(self, peer: str) -> list[str]:
        """The addresses of a peer, the most promising first."""
        known = self._peers.get(peer)
        return [] if known is None else [entry.text for entry in sorted(known.addresses, key=_Address.rank)]

    def due(self, now: float) -> list[tuple[str, list[str]]]:
        """The peers to dial now, each with its addresses, best first.

        They count as being dialled until `connected`, `disconnected` or `failed` says what came of it.
        """
        room = MAX_DIALLING - sum(known.dialling for known in self._peers.values())
        waiting = [
            (known.is_hearsay(), known.next_dial, peer)
            for peer, known in self._peers.items()
            if _is_away(known) and known.next_dial <= now
        ]
        hearsay = MAX_DIALLING // 2 - sum(known.dialling and known.is_hearsay() for known in self._peers.values())
        hearsay = min(hearsay, self._dials.refill(now))
        chosen: list[str] = []
        for is_hearsay, _, peer in sorted(waiting):
            if len(chosen) >= room or (is_hearsay and hearsay <= 0):
                break  # hearsay stands last
            hearsay -= is_hearsay
            self._dials.left -= is_hearsay
            chosen.append(peer)
        for peer in chosen:
            self._peers[peer].dialling = True
        return [(peer, self.best(peer)) for peer in chosen]

    # --- to keep it ---

    def to_data(self) -> list[list[object]]:
        """Everything worth keeping (hearsay is not), as plain lists: ``[peer, [[address, last_ok_ms, failures, round_trip_us]]]``."""
        return [
            [peer, [_to_data(entry) for entry in known.addresses if not entry.is_hearsay]]
            for peer, known in self._peers.items()
            if not all(entry.is_hearsay for entry in known.addresses)
        ]

    def places(self) -> frozenset[tuple[str, str, bool]]:
        """What `to_data` keeps, without how it fared: peers, their addresses, and whether those ever worked."""
        return frozenset(
            (peer, entry.text, entry.last_ok is not None)
            for peer, known in self._peers.items()
            for entry in known.addresses
            if not entry.is_hearsay
        )

    @classmethod
    def from_data(cls, data: object, limit: int = Limits.idle_peers_remembered) -> AddressBook:
        """The book that `to_data` gave; all its peers are due. What does not parse is left out."""
        book = cls(limit)
        book.restore(data)
        return book

    def restore(self, data: object) -> None:
        """Takes in what `to_data` gave of peers that are not in the book yet; all of them are due."""
        for row in data if isinstance(data, list) else []:
            match row:
                case [str(peer), list(entries)]:
                    found = [entry for one in entries[:MAX_ADDRESSES] if (entry := _from_data(peer, one))]
                    if found and len(self) < self._limit and peer not in self._peers:
                        self._peers[peer] = _Peer(found)
                case _:
                    pass

    def _evict(self, keep: str) -> None:
        idle = [peer for peer, known in self._peers.items() if not known.connected and peer != keep]
        idle.sort(key=lambda peer: self._peers[peer].worth())
        for peer in idle[: max(0, len(self._peers) - self._limit)]:
            del self._peers[peer]


def _is_away(known: _Peer) -> bool:
    return bool(known.addresses) and not known.connected and not known.dialling


def _first(addresses: Iterable[str]) -> list[str]:
    """A bounded number of what may be many."""
    return [text for text, _ in zip(addresses, range(2 * MAX_ADDRESSES), strict=False)]


def _is_sound(peer: str, text: object) -> bool:
    """Whether this can be an address of the peer; whether anybody answers there is another matter."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_ADDRESS_CHARS
        and text.isascii()
        and text.isprintable()
        and text.startswith("/")
        and text.endswith(f"/p2p/{peer}")
    )


def _to_data(entry: _Address) -> list[object]:
    last_ok_ms = round((entry.last_ok or 0.0) * 1000)
    return [entry.text, last_ok_ms, entry.failures, round((entry.round_trip_s or 0.0) * 1_000_000)]


def _from_data(peer: str, data: object) -> _Address | None:
    match data:
        case [str(text), int(last_ok_ms), int(failures), int(trip_us)] if _is_sound(peer, text):
            return _Address(text, last_ok_ms / 1000 or None, failures, trip_us / 1_000_000 or None)
    return None
