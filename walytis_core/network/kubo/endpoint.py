"""Where a daemon's RPC is, and what opens it: checked before anything is sent.

Invariants: the daemon is on this machine, since it hands streams to a port of the loopback; what opens the RPC is in no
text that a person or a log sees. The file knows nothing of HTTP but how its URLs and one header are written.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from walytis_core.errors import InvalidInputError

__all__ = ["DEFAULT_URL", "Endpoint"]

DEFAULT_URL: Final = "http://127.0.0.1:5001"
_PORT: Final = 5001
_HINT: Final = f"Write the address of its RPC: {DEFAULT_URL} unless Addresses.API of its config says another port."
_MULTIADDR: Final = re.compile(r"/ip[46]/[0-9a-fA-F.:]+/tcp/(\d{1,5})(/http)?")
_MAX_TOKEN: Final = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The RPC of one daemon."""

    url: str
    """Without a path, and without a password."""
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, token: str | None = None) -> Endpoint:
        """Reads a URL, which may carry `user:password@`.

        Raises:
            InvalidInputError: It is no URL of an RPC on this machine, or the token is none.
        """
        if not isinstance(url, str):
            raise InvalidInputError("The address of a Kubo daemon is a text.", hint=_HINT)
        if found := _MULTIADDR.fullmatch(url):
            raise InvalidInputError(
                "The address of a Kubo daemon is written as a URL.", hint=f"Write http://127.0.0.1:{found[1]}."
            )
        parts, port = _split(url)
        host = _to_local(parts.hostname or "")
        return cls(f"http://{host}:{port}", _authorization(parts, token))


def _split(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = _PORT if parts.port is None else parts.port
    except ValueError as error:
        raise InvalidInputError("This is not the URL of a Kubo daemon.", hint=_HINT) from error
    is_plain = parts.path in {"", "/"} and not parts.query and not parts.fragment
    if parts.scheme != "http" or not parts.hostname or not is_plain or not 0 < port < 1 << 16:
        raise InvalidInputError("This is not the URL of a Kubo daemon.", hint=_HINT)
    return parts, port


def _to_local(host: str) -> str:
    if host == "::1":
        return "[::1]"
    if host == "localhost":
        return "127.0.0.1"  # no name to look up, in a thread, for each connection
    if re.fullmatch(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}", host):
        return host
    raise InvalidInputError(
        "The Kubo daemon has to be on this machine.",
        hint="It hands over streams by ports of the loopback: run the node where the daemon runs.",
    )


def _authorization(parts: SplitResult, token: str | None) -> str | None:
    has_password = parts.username is not None or parts.password is not None
    if token is None and not has_password:
        return None
    if token is not None and has_password:
        raise InvalidInputError("The token is given twice.", hint="Give `token=` or a password in the URL, not both.")
    if token is None:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    if not re.fullmatch(r"[!-~]+", token) or len(token) > _MAX_TOKEN:
        raise InvalidInputError(
            "The token is not one.", hint="Give the text behind `bearer:` in API.Authorizations of its config."
        )
    return "Bearer " + token
