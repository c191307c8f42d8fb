"""From what a person types to what is meant: blocks, objects and authors by the end of their name, as the screen shows them.

Invariants: a full id or key is looked up at once; an ending is looked for in the whole chain and must mean one thing
only, so a short name never silently picks one of several.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from frontends.calls import Call
from frontends.failures import EXIT_CODES, FailedError
from frontends.forms import author_text

if TYPE_CHECKING:
    from identities import KnownIdentity, SeatInfo
    from mutability import Mutable
    from walytis_core import Block, BlockId, Chain

SHORT: Final = 8  # characters of an id or key on a screen
MIN_ENDING: Final = 4
_CID_LETTERS: Final = 59


def chain_of(call: Call, chain: str) -> Chain:
    """A chain by its name or id.

    Raises:
        StorageError: It is damaged; says which one it is, and what to do.
        NotFoundError: There is none.
    """
    from walytis_core import StorageError  # noqa: PLC0415 - the library is loaded by those who use it

    try:
        return call.node.chain(chain)
    except StorageError as error:
        hint = f"{error.hint} `walytis delete {shlex.quote(chain)}` deletes it here."
        raise StorageError(f"the chain {chain} is damaged: {error}", hint=hint) from error


def find_block(chain: Chain, text: str) -> Block:
    """The block whose id is, or ends with, `text`.

    Raises:
        FailedError: No block, or more than one.
        NotFoundError: The id is of no block here.
    """
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    if len(text) == _CID_LETTERS:
        return chain.block(BlockId.parse(text))
    _require_ending(text)
    found = {block.id: block for block in chain.blocks(newest_first=True) if str(block.id).endswith(text)}
    _require_one("block", text, len(found), f"`walytis log {shlex.quote(chain.name)}` shows the blocks.")
    return next(iter(found.values()))


def find_object(objects: Mutable, text: str) -> BlockId:
    """The object whose id is, or ends with, `text`, also a deleted one; or that with a version whose full id it is.

    Raises:
        FailedError: No object, or more than one.
        NotFoundError: The id is of no object here, or of one that counts for nothing.
    """
    from mutability import CREATED  # noqa: PLC0415 - the library is loaded by those who use it
    from walytis_core import NotFoundError  # noqa: PLC0415 - the same

    hint = f"`walytis object list {shlex.quote(objects.chain.name)} --all` shows the objects."
    id = _find_id("object", text, (block.id for block in objects.chain.blocks(type=CREATED)), hint)
    try:
        return objects.heads(id)[0]
    except NotFoundError as error:
        raise NotFoundError(str(error), hint=hint) from error


def find_version(objects: Mutable, object: BlockId, text: str) -> BlockId:
    """The version of an object whose id is, or ends with, `text`: also one that does not count.

    Raises:
        FailedError: No version, or more than one.
        NotFoundError: There is no such object here.
    """
    hint = f"`walytis object history {shlex.quote(objects.chain.name)} {str(object)[-SHORT:]}` shows its versions."
    return _find_id("version of it", text, (version.id for version in objects.history(object, void=True)), hint)


def _find_id(what: str, text: str, ids: Iterable[BlockId], hint: str) -> BlockId:
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    if len(text) == _CID_LETTERS:
        return BlockId.parse(text)
    _require_ending(text)
    found = {id for id in ids if str(id).endswith(text)}
    _require_one(what, text, len(found), hint)
    return found.pop()


def find_author(chain: Chain, text: str) -> bytes:
    """The author whose key is, or ends with, `text`; only authors with blocks in the chain are found.

    Raises:
        FailedError: No author, or more than one.
    """
    _require_ending(text)
    authors = {block.author for block in chain.blocks()}
    found = [author for author in authors if author_text(author).endswith(text)]
    _require_one("author", text, len(found), f"`walytis log {shlex.quote(chain.name)}` shows who wrote.")
    return found[0]


def find_invitation(chain: Chain, text: str) -> bytes:
    """The id of the invitation that `text` is: an invitation, its id, or the beginning of its id.

    Raises:
        FailedError: No invitation of this chain, or more than one.
    """
    from walytis_core import Invitation  # noqa: PLC0415 - the library is loaded by those who use it

    if ":" in text:
        return Invitation.parse(text).id
    _require_ending(text)
    found = [record.id for record in chain.invitations() if record.id.hex().startswith(text.lower())]
    hint = f"`walytis invitations {shlex.quote(chain.name)}` shows them."
    _require_one("invitation", text, len(found), hint, "begins")
    return found[0]


def find_seat(identity: KnownIdentity, text: str, names: Mapping[str, str] | None = None) -> SeatInfo:
    """The seat that `text` means: a place in the first block, the end of the id of the one that made it, or who holds it.

    Args:
        identity: The identity.
        text: The place, the end, a device's name, or a member's DID or name.
        names: What identities are called here, by their DIDs.

    Raises:
        FailedError: No seat, or more than one.
    """
    seats = identity.seats()
    if text.isascii() and text.isdigit() and len(text) < MIN_ENDING:
        found = [seat for seat in seats if seat.id == int(text)]
    else:
        named = [seat for seat in seats if text and text in {seat.name, seat.holder, (names or {}).get(seat.holder)}]
        named = [seat for seat in named if seat.state in {"live", "pending"}] or named
        found = named or [seat for seat in seats if isinstance(seat.id, bytes) and _seat_text(seat).endswith(text)]
        if not named:
            _require_ending(text)
    hint = f"`walytis id show {shlex.quote(identity.name)}` shows the seats."
    _require_one("seat", text, len(found), hint, "is called, or ends")
    return found[0]


def _seat_text(seat: SeatInfo) -> str:
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    return str(BlockId(seat.id)) if isinstance(seat.id, bytes) else str(seat.id)


def find_event(identity: KnownIdentity, text: str) -> BlockId:
    """The event of an identity whose id is, or ends with, `text`.

    Raises:
        FailedError: No event, or more than one.
    """
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    hint = f"`walytis log {shlex.quote(identity.name)}` shows the events."
    return _find_id("event", text, (BlockId(act.id) for act in identity.folded.pasts.acts), hint)


def _require_ending(text: str) -> None:
    if len(text) < MIN_ENDING:
        raise FailedError.usage(f"{text!r} is too short to look for", f"Give at least {MIN_ENDING} characters.")


def _require_one(what: str, text: str, count: int, hint: str, how: str = "ends") -> None:
    if count == 0:
        message = f"there is no {what} that {how} with {text!r}"
        raise FailedError("NotFoundError", message, hint, EXIT_CODES["LocalError"])
    if count > 1:
        raise FailedError.usage(f"{count} of them: which {what} {how} with {text!r} is not clear", "Give more of it.")
