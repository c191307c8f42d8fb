"""The HTTP RPC of a Kubo daemon: a call and its answer, or a stream of lines.

Decides what each way to fail means to a person. Invariants: every answer is bounded in size, and in time unless it is a
stream; no foreign exception leaves; no proxy and no redirect is followed; what opens the RPC is never logged, nor in an
error. It goes straight to httpx's transport: its client would write a line into the log for every call. Knows no peers.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

import httpx
import trio

from walytis_core.errors import UnavailableError
from walytis_core.network.kubo.endpoint import Endpoint

__all__ = ["NOT_KUBO_HINT", "Rpc", "RpcRefusedError", "object_of"]

CALL_WAIT_S: Final = 10.0
CONNECT_WAIT_S: Final = 3.0
MAX_ANSWER_BYTES: Final = 256 * 1024
_MAX_SAID_CHARS: Final = 200
_MAX_ERROR_BYTES: Final = 16 * 1024
_IDLE_CONNECTIONS: Final = 4
_IDLE_S: Final = 30.0

NOT_KUBO_HINT: Final = "Give the port of its RPC (Addresses.API of its config, 5001 by default), not of its gateway (8080) or swarm (4001)."


def object_of(text: bytes) -> dict[str, Any] | None:
    """A JSON object that a daemon sent; None where it is none, whatever is wrong with it."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


class RpcRefusedError(UnavailableError):
    """The daemon answered, and said no.

    Args:
        path: The command.
        said: What the daemon said, as it came.
    """

    hint = "Look at the daemon's log; `walytis doctor --kubo URL` checks its settings."

    def __init__(self, path: str, said: str) -> None:
        self.said = _printable(said)
        super().__init__(f"The Kubo daemon refuses `{path}`: {self.said or 'it does not say why'}.")


class Rpc:
    """The RPC of one daemon, for the length of an `async with`.

    Args:
        endpoint: Where it is.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = endpoint.url
        host = endpoint.url.removeprefix("http://")
        self._headers = {"Host": host, "Accept-Encoding": "identity", "User-Agent": "walytis"}
        if endpoint.authorization is not None:
            self._headers["Authorization"] = endpoint.authorization
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl.SSLContext(
                ssl.PROTOCOL_TLS_CLIENT
            ),  # unused: the RPC is plain, and reading certificates takes long
            limits=httpx.Limits(max_keepalive_connections=_IDLE_CONNECTIONS, keepalive_expiry=_IDLE_S),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        with trio.CancelScope(shield=True):
            await self._transport.aclose()

    async def call(
        self,
        path: str,
        *args: str,
        options: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        wait_s: float = CALL_WAIT_S,
    ) -> bytes:
        """Calls a command and gives its whole answer.

        Args:
            path: The command, such as `swarm/peers`.
            args: Its arguments.
            options: Its options.
            body: A file that goes with it.
            max_bytes: The longest answer that is taken.
            wait_s: How long the answer may take.

        Raises:
            RpcRefusedError: The daemon says no.
            UnavailableError: No daemon, or no sound answer of one.
        """
        with trio.move_on_after(wait_s):
            async with self._answer(path, args, options, body) as answer:
                return await _read(answer, max_bytes)
        raise UnavailableError(
            f"The Kubo daemon does not answer `{path}` in time.", hint="It may be busy: try again, or restart it."
        )

    async def ask(self, path: str, *args: str, **how: Any) -> dict[str, Any]:
        """Calls a command whose answer is one JSON object; raises as `call`."""
        return self.parsed(await self.call(path, *args, **how))

    def parsed(self, answer: bytes) -> dict[str, Any]:
        """The JSON object of an answer; an empty one is an empty object. Raises `UnavailableError` where it is none."""
        parsed = object_of(answer) if answer.strip() else {}
        if parsed is None:
            raise self._no_kubo()
        return parsed

    async def each_line(
        self,
        path: str,
        *args: str,
        options: Mapping[str, str] | None = None,
        max_bytes: int,
        on_line: Callable[[bytes], None],
        on_open: Callable[[], None] | None = None,
    ) -> None:
        """Calls a command that answers with lines, for as long as it does; raises as `call`.

        Args:
            path: The command.
            args: Its arguments.
            options: Its options.
            max_bytes: The longest line that is taken.
            on_line: Called with each line.
            on_open: Called when the daemon has accepted the call.
        """
        async with self._answer(path, args, options, None) as answer:
            if on_open is not None:
                on_open()
            waiting = bytearray()
            async with _chunks(answer) as chunks:
                async for chunk in chunks:
                    waiting += chunk
                    *lines, rest = waiting.split(b"\n")
                    for line in lines:
                        on_line(bytes(line))
                    waiting = rest
                    if len(waiting) > max_bytes:
                        raise UnavailableError(f"A line that the daemon sent is longer than {max_bytes} bytes.")

    @asynccontextmanager
    async def _answer(
        self, path: str, args: tuple[str, ...], options: Mapping[str, str] | None, body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        form, content = ({}, b"") if body is None else _form(body)
        request = httpx.Request(
            "POST",
            f"{self.url}/api/v0/{path}",
            params=[*(("arg", arg) for arg in args), *(options or {}).items()],
            headers=self._headers | {"Content-Length": str(len(content))} | form,
            stream=_Body(content),
            extensions={"timeout": {"connect": CONNECT_WAIT_S}},
        )
        with self._foreign_errors():
            answer = await self._transport.handle_async_request(request)
            try:
                if answer.status_code != httpx.codes.OK:
                    raise await self._refusal(path, answer)
                yield answer
            finally:
                with trio.CancelScope(shield=True):
                    await answer.aclose()

    async def _refusal(self, path: str, answer: httpx.Response) -> UnavailableError:
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return UnavailableError(
                "The Kubo daemon does not let this node use its RPC.",
                hint="Give a token of API.Authorizations in its config: KuboNetwork(url, token=...), or WALYTIS_KUBO_TOKEN in the "
                "environment of the command `walytis`.",
            )
        if answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
            return self._no_kubo()
        said = self.parsed(await _read(answer, _MAX_ERROR_BYTES)).get("Message")
        return RpcRefusedError(path, said) if isinstance(said, str) else self._no_kubo()

    @contextmanager
    def _foreign_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnavailableError(
                f"No Kubo daemon answers at {self.url}.",
                hint="Start it with `ipfs daemon`, or give the address of its RPC (Addresses.API of its config).",
            ) from error
        except (httpx.ReadError, httpx.WriteError) as error:
            raise UnavailableError(
                f"The connection to the Kubo daemon at {self.url} broke.",
                hint=f"See whether it is still running. {NOT_KUBO_HINT}",
            ) from error
        except httpx.RemoteProtocolError as error:
            if "disconnected" not in str(error) and "closed connection" not in str(error):
                raise self._no_kubo() from error
            raise UnavailableError(
                f"The answer of the Kubo daemon at {self.url} was cut off.",
                hint="See whether it is still running, and whether this is the port of its RPC (5001 by default).",
            ) from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            raise self._no_kubo() from error

    def _no_kubo(self) -> UnavailableError:
        return UnavailableError(f"What answers at {self.url} is not the RPC of a Kubo daemon.", hint=NOT_KUBO_HINT)


class _Body(httpx.AsyncByteStream):
    """A body in one piece; httpx's own is a generator, which a call that breaks off leaves to the garbage collector."""

    def __init__(self, content: bytes) -> None:
        self._left = [content] if content else []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _form(body: bytes) -> tuple[dict[str, str], bytes]:
    """The headers and bytes of a form with one file; its boundary is drawn, so that no stranger's block contains it."""
    boundary = os.urandom(16).hex()
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    whole = b"".join((head.encode(), body, f"\r\n--{boundary}--\r\n".encode()))
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, whole


async def _read(answer: httpx.Response, max_bytes: int) -> bytes:
    read = bytearray()
    async with _chunks(answer) as chunks:
        async for chunk in chunks:
            read += chunk
            if len(read) > max_bytes:
                raise UnavailableError(
                    f"The answer of the daemon is longer than {max_bytes} bytes.", hint=NOT_KUBO_HINT
                )
    return bytes(read)


@asynccontextmanager
async def _chunks(answer: httpx.Response) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """The bytes of an answer; httpx's generators within generators come to their end even where it is not read whole."""
    chunks = answer.aiter_raw()
    try:
        yield chunks  # type: ignore[misc]
    finally:
        # `aclose` would end the outermost alone, and leave those within it to the garbage collector
        with trio.CancelScope() as scope:
            scope.cancel()
            async for _ in chunks:
                pass


def _printable(said: str) -> str:
    text = "".join(char if char.isprintable() else " " for char in said[:_MAX_SAID_CHARS])
    return text.strip().rstrip(".")
