"""Daemons that lie: a server with the face of Kubo's RPC whose answers a test bends, and one between us and a real one.

Threads of its own: it serves a loop that a test runs and a node's own loop alike. Answers and their bends are in
`bad_answers.py`. Knows nothing of the adapter.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from tests.suites.bad_answers import DONE, PAGE_NOT_FOUND, Answer, Request, block, chunk, head, raw, refused, told
from walytis_core.cid import CID_BYTES, Cid

RPC: Final = "/api/v0/"
_LOOK_AGAIN_S: Final = 0.01
_CHUNK: Final = 65536
_HEAD_BYTES: Final = 65536


class Server:
    """Answers RPC calls as usual, but for the paths for which a test gave another answer.

    >>> with ScriptedKubo() as kubo:
    ...     kubo.answers["id"] = cut(40)(kubo.usual)
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        """What is answered otherwise than usual, by the path below `/api/v0/`; ``""`` for all others."""
        self.calls: deque[Request] = deque(maxlen=10_000)
        self.sent: Counter[str] = Counter()
        """Bytes that were taken off us, by path."""
        self.port = 0
        self._listener: socket.socket | None = None
        self._open: set[tuple[socket.socket, threading.Event]] = set()
        self._lock = threading.Lock()

    def usual(self, request: Request) -> Iterator[bytes]:
        """The answer of an honest daemon."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Its address, as `KuboNetwork` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        """How often something was asked."""
        return sum(request.path == path for request in list(self.calls))

    def __enter__(self) -> Self:
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()

    def come(self) -> None:
        """Listens, at the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def go(self) -> None:
        """Is gone, and every connection with it."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
            listener.close()
        self.drop()

    def drop(self) -> None:
        """Ends every connection, and goes on listening."""
        with self._lock:
            gone, self._open = self._open, set()
        for connection, over in gone:
            over.set()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            item = (connection, threading.Event())
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                self._open.add(item)
            threading.Thread(target=self._serve, args=item, daemon=True).start()

    def _serve(self, connection: socket.socket, over: threading.Event) -> None:
        try:
            with connection, suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                request = _read(connection, over)
                if request is not None:
                    self._answer(connection, request)
        finally:
            with self._lock:
                self._open.discard((connection, over))

    def _answer(self, connection: socket.socket, request: Request) -> None:
        self.calls.append(request)
        answer = self.answers.get(request.path) or self.answers.get("") or self.usual
        threading.Thread(target=_until_gone, args=[connection, request.over], daemon=True).start()
        for data in answer(request):
            connection.sendall(data)
            self.sent[request.path] += len(data)
        connection.shutdown(socket.SHUT_RDWR)


def _until_gone(connection: socket.socket, over: threading.Event) -> None:
    with suppress(OSError):
        while connection.recv(_CHUNK):
            pass
    over.set()


def _read(connection: socket.socket, over: threading.Event) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(_CHUNK)
        if not more or len(data) > _HEAD_BYTES:
            return None
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in top.split(b"\r\n")[1:] if b": " in line)
    if b"transfer-encoding" in headers:
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(_CHUNK)
    while len(body) < int(headers.get(b"content-length", b"0")):
        body += connection.recv(_CHUNK)
    url = urlsplit(top.split(b" ")[1].decode())
    asked = parse_qsl(url.query, keep_blank_values=True)
    path = url.path.removeprefix(RPC)
    return Request(path, [value for name, value in asked if name == "arg"], dict(asked), top, body, over)


class ScriptedKubo(Server):
    """As much of Kubo's RPC as a node asks for, from a few attributes, which a test sets.

    Args:
        peer_id: Its own.
    """

    def __init__(self, peer_id: str = "12D3KooWQk8cqKYnNHwb4TuLjDsctU9HKG63xKLUraBqTGTGx7Jd") -> None:
        super().__init__()
        self.peer_id = peer_id
        self.version: object = "0.43.0"
        self.peers: list[str] = []
        """Who is connected; all of them are on every channel."""
        self.blocks: dict[str, bytes] = {}
        self.pins: dict[str, str] = {}
        """Direct ones, with their labels."""
        self.graphs: set[str] = set()
        """What somebody pinned with all below it."""
        self.listeners: dict[str, str] = {}
        """By protocol, the addresses to which its streams are brought."""
        self._subscribed: list[tuple[str, deque[bytes]]] = []

    @property
    def addresses(self) -> list[str]:
        """Where its swarm listens, as it says."""
        return [f"/ip4/127.0.0.1/tcp/4001/p2p/{self.peer_id}"]

    def come(self) -> None:
        """As a daemon that was started anew: nobody listens at it, and nobody is subscribed."""
        self.listeners.clear()
        self._subscribed.clear()
        super().come()

    def target_of(self, protocol: str) -> tuple[str, int]:
        """Where a stream of a protocol is brought to."""
        _, _, host, _, port = self.listeners[protocol].split("/")
        return host, int(port)

    # --- pubsub ---

    def is_subscribed(self, channel: str) -> bool:
        """Whether somebody hears a channel now."""
        return any(topic == multibase(channel.encode()) for topic, _ in self._subscribed)

    def say(self, channel: str, line: bytes) -> None:
        """Writes this, as it is, to all that are subscribed to a channel."""
        for topic, queue in list(self._subscribed):
            if topic == multibase(channel.encode()):
                queue.append(line)

    def _sub(self, request: Request) -> Iterator[bytes]:
        item = (request.args[0], deque[bytes]())
        yield head("200 OK", "X-Chunked-Output: 1", "Transfer-Encoding: chunked")
        self._subscribed.append(item)
        try:
            while not request.over.wait(_LOOK_AGAIN_S):
                while item[1]:
                    line = item[1].popleft()
                    yield chunk(line)
                    if not line:
                        return
        finally:
            self._subscribed = [one for one in self._subscribed if one is not item]

    # --- the rest ---

    def usual(self, request: Request) -> Iterator[bytes]:
        """The answer of an honest daemon."""
        answers: dict[str, Callable[[Request], Answer]] = {
            "version": lambda _: told({"Version": self.version, "Commit": "", "Repo": "18", "System": "amd64/linux"}),
            "id": self._id,
            "swarm/peers": lambda _: told(
                {"Peers": [{"Addr": "/ip4/127.0.0.1/tcp/41595", "Peer": peer} for peer in self.peers] or None}
            ),
            "swarm/connect": lambda one: refused(f"connect {one.args[0]} failure: failed to dial"),
            "swarm/disconnect": lambda one: told({"Strings": [f"disconnect {one.args[0]} success"]}),
            "pubsub/ls": lambda _: told({"Strings": [topic for topic, _ in self._subscribed] or None}),
            "pubsub/peers": lambda _: told({"Strings": self.peers}),
            "pubsub/sub": lambda _: self._sub,
            "pubsub/pub": lambda _: DONE,
            "p2p/ls": lambda _: told({"Listeners": self._p2p_lines() or None}),
            "p2p/listen": self._listen,
            "p2p/forward": lambda _: DONE,
            "p2p/close": self._close,
            "block/get": self._block,
            "pin/ls": self._pin_ls,
            "pin/add": self._pin,
            "pin/rm": self._unpin,
            "dag/import": self._import,
        }
        answer: Answer = answers[request.path](request) if request.path in answers else PAGE_NOT_FOUND
        return answer(request)

    def _id(self, request: Request) -> Answer:
        if request.args and request.args[0] not in {self.peer_id, *self.peers}:
            return refused("routing: not found")
        about = {"ID": request.args[0] if request.args else self.peer_id, "PublicKey": "", "Protocols": ["/x/"]}
        return told(about | {"Addresses": self.addresses, "AgentVersion": f"kubo/{self.version}"})

    def _p2p_lines(self) -> list[dict[str, str]]:
        return [
            {"Protocol": protocol, "ListenAddress": f"/p2p/{self.peer_id}", "TargetAddress": target}
            for protocol, target in self.listeners.items()
        ]

    def _listen(self, request: Request) -> Answer:
        if request.args[0] in self.listeners:
            return refused("listener already registered")
        self.listeners[request.args[0]] = request.args[1]
        return DONE

    def _close(self, request: Request) -> Answer:
        asked = request.options
        gone = [
            protocol
            for protocol, target in self.listeners.items()
            if "all" in asked
            or ({"protocol", "target-address"} & asked.keys()
                and asked.get("protocol", protocol) == protocol
                and asked.get("target-address", target) == target)
        ]  # fmt: skip
        for protocol in gone:
            del self.listeners[protocol]
        return told(len(gone))

    def _import(self, request: Request) -> Answer:
        found = _blocks_of(request.body)
        self.blocks |= found
        return told({"Stats": {"BlockCount": len(found), "BlockBytesCount": sum(map(len, found.values()))}})

    def _pin_ls(self, request: Request) -> Answer:
        kind = request.options["type"]
        held = self.pins if kind == "direct" else dict.fromkeys(self.graphs, "")
        if request.args:
            (cid,) = request.args
            return told({"Keys": {cid: {"Type": kind}}}) if cid in held else refused(f"path '{cid}' is not pinned")
        lines = [
            {"Cid": cid, "Name": name, "Type": kind} for cid, name in held.items() if request.options["name"] in name
        ]
        return raw(head("200 OK") + b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def _pin(self, request: Request) -> Answer:
        assert request.options["recursive"] == "false"
        for cid in request.args:
            if cid in self.graphs:
                return refused("pin: already pinned recursively")
            if cid not in self.blocks:
                return refused(f"pin: block was not found locally (offline): ipld: could not find {cid}")
            self.pins[cid] = request.options["name"]
        return told({"Pins": request.args})

    def _unpin(self, request: Request) -> Answer:
        for cid in request.args:
            if cid not in self.pins:
                return refused(
                    f"{cid} is pinned recursively" if cid in self.graphs else "not pinned or pinned indirectly"
                )
            if request.options.get("recursive") == "false":
                del self.pins[cid]
        return told({"Pins": request.args})

    def _block(self, request: Request) -> Answer:
        held = self.blocks.get(request.args[0])
        if held is None:
            return refused(f"block was not found locally (offline): ipld: could not find {request.args[0]}")
        return block(held)


class KuboBetween(Server):
    """Between us and a real daemon: passes on what it is asked, and the answers as they come.

    Args:
        url: The real daemon's RPC.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.real = url

    def usual(self, request: Request) -> Iterator[bytes]:
        """The answer of the daemon behind."""
        there = urlsplit(self.real)
        kept = [
            line for line in request.head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"transfer-"))
        ]
        asked = b"\r\n".join([*kept, b"Connection: close", b"", b""])
        try:
            behind = socket.create_connection((there.hostname or "", there.port or 0))
        except OSError:
            return  # it is away, and so are we
        with behind:
            threading.Thread(target=_close_after, args=[behind, request.over], daemon=True).start()
            behind.sendall(asked + request.body)
            with suppress(OSError):
                while data := behind.recv(_CHUNK):
                    yield data


def _blocks_of(form: bytes) -> dict[str, bytes]:
    """The blocks of a CAR that is the one file of a form."""
    car = form.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    sections, at = [], 0
    while at < len(car):
        size = shift = 0
        while True:
            byte, at = car[at], at + 1
            size, shift = size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        sections.append(car[at : at + size])
        at += size
    return {str(Cid(section[:CID_BYTES])): section[CID_BYTES:] for section in sections[1:]}


def _close_after(connection: socket.socket, over: threading.Event) -> None:
    over.wait()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


# --- small things that tests of these servers need ---------------------------------------------------------------


def multibase(data: bytes) -> str:
    """As Kubo writes topics and payloads: base64url without padding, after a ``u``."""
    return "u" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def message(channel: str, peer: str, data: bytes) -> bytes:
    """A line of `pubsub/sub`."""
    said = {
        "from": peer,
        "data": multibase(data),
        "seqno": multibase(b"12345678"),
        "topicIDs": [multibase(channel.encode())],
    }
    return json.dumps(said).encode() + b"\n"
