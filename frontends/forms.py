"""The JSON forms of what the library gives: one form per thing, used by every command, in process and by the socket.

Invariants: a form is plain JSON data; bytes are text when they are UTF-8, base64 otherwise, and `encoding` says which;
nothing secret is in a form but the invitation that was asked for; times are ISO 8601. Field names are part of the command's interface.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from identities import ContactCard
    from mutability import Hole, Version
    from walytis_core import Block, Chain, ChainStatus, Invitation, InvitationRecord

Form = dict[str, Any]


def author_text(author: bytes) -> str:
    """An author's multikey as text: multibase base58btc, as in ``did:key``."""
    from multiformats import multibase  # noqa: PLC0415 - takes time to load, and only commands on blocks need it

    return str(multibase.encode(author, "base58btc"))


def chain_form(chain: Chain) -> Form:
    """A chain as `list` shows it."""
    return {"name": chain.name, "id": str(chain.id), "blocks": len(chain), "height": chain.height}


def block_form(block: Block, *, number: int | None = None) -> Form:
    """A block as `log`, `show`, `append` and `follow` show it. Long content is named by link and size."""
    form: Form = {
        "id": str(block.id),
        "chain": str(block.chain_id),
        "author": author_text(block.author),
        "seq": block.seq,
        "height": block.height,
        "time": block.time.isoformat(timespec="milliseconds"),
        "type": block.type,
        "topics": list(block.topics),
    }
    if number is not None:
        form["cursor"] = number
    return form | content_form(block)


def content_form(block: Block) -> Form:
    """The payload of a block: text, base64, or the link of long content."""
    content = block.content
    return payload_form(block.payload) if content is None else {"size": content.size, "link": str(content.link)}


def payload_form(payload: bytes) -> Form:
    """Content as it is, if it is text, or in base64."""
    try:
        return {"size": len(payload), "payload": payload.decode("utf-8"), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"size": len(payload), "payload": base64.b64encode(payload).decode("ascii"), "encoding": "base64"}


def version_form(version: Version | Hole, mark: str | None = None) -> Form:
    """A version of an object, as the commands on objects show it.

    Args:
        version: The version; one whose block is damaged has its id and nothing else.
        mark: ``"current"`` or ``"conflict"`` for a version that nothing replaces.
    """
    from frontends.excerpts import excerpt  # noqa: PLC0415 - the library is loaded by those who use it
    from mutability import RESTORED, Hole  # noqa: PLC0415 - the same

    line = excerpt(version)
    said = {"excerpt": line.text} if line.is_content else {"note": line.text}
    if isinstance(version, Hole):
        return {"id": str(version.id), "kind": "damaged"} | said
    block, change, source = version.block, version.change, version.source
    restores = change.named[-1] if change.kind == RESTORED else None
    form: Form = {
        "object": str(version.object), "id": str(block.id), "kind": change.kind.rpartition("/")[2],
        "standing": type(version.standing).__name__.lower(), "mark": mark, "author": author_text(block.author),
        "height": block.height, "time": block.time.isoformat(timespec="milliseconds"), "topics": list(block.topics),
        "replaces": [str(id) for id in change.replaces], "restores": restores and str(restores),
        "dropped": change.detail is True,
    }  # fmt: skip
    content = {} if source is None else {"media_type": version.media_type, "source": str(source.id)} | _content(source)
    return form | said | content


def _content(block: Block) -> Form:
    """Content that would fit a block is given wherever it is kept; it may have been dropped, or not have come yet."""
    from walytis_core import Limits, UnavailableError  # noqa: PLC0415 - the library is loaded by those who use it

    form = content_form(block)
    if "payload" not in form and form["size"] <= Limits.max_payload_bytes:
        try:
            return form | payload_form(block.payload)
        except UnavailableError:
            return form
    return form


def links_form(block: Block) -> Form:
    """What a block names: for `show` and `graph`."""
    return {"prev": None if block.prev is None else str(block.prev), "parents": [str(id) for id in block.parents]}


def invitation_form(record: InvitationRecord) -> Form:
    """What the issuer keeps of an invitation, without its seed."""
    return {
        "id": record.id.hex(), "uses": record.uses, "used": len(record.used_by), "expires": time_text(record.expires),
        "write": record.write, "revoked": record.revoked,
    }  # fmt: skip


def handed_on_form(handed: Invitation | ContactCard) -> Form:
    """An invitation or a contact card for a QR code, and whether only programs on this machine can use it."""
    addresses = handed.addresses
    local_only = bool(addresses) and all(address.startswith(("/ip4/127.", "/ip6/::1/")) for address in addresses)
    return {"qr_text": handed.qr_text, "local_only": local_only}


def status_form(status: ChainStatus) -> Form:
    """How a chain does, beside what `chain_form` says."""
    form: Form = plain(status)
    del form["blocks"]
    writable = {"writable": status.writable is None, "not_writable_because": status.writable}
    return form | writable | {"last_contact": time_text(status.last_contact)}


def time_text(epoch_s: float | None) -> str | None:
    """Seconds since the epoch in ISO 8601, as every time in a form; None where there is none."""
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")


def plain(value: object) -> Any:
    """Any dataclass, tuple, id, time or bytes as JSON data: for `status`, `verify` and numbers."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return str(value) if type(value).__str__ is not bytes.__str__ else value.hex()
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)
