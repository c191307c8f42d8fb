"""What each command on objects does: one function per verb, beside those of `verbs.py`, and under the same rules.

Invariants: an answer of many objects or versions is streamed, so that memory does not grow with it; a listing shows what
it can, whatever else is damaged here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from frontends.calls import Call, Verb
from frontends.failures import EXIT_CODES, FailedError
from frontends.finding import SHORT, chain_of, find_author, find_object, find_version
from frontends.forms import Form, version_form

if TYPE_CHECKING:
    from mutability import Mutable, Version
    from walytis_core import BlockId

_JSON: Final = "application/json"
_GIVE: Final = "Give the content that is to replace them all, as TEXT or by --file."
_MAX_SETTLED, _MAX_NAME = 100, 200  # names of fields that an answer holds, and their letters


def rule_data(who: str | None) -> bytes:
    """What the genesis of a chain says about its objects: that their author may change them, or anyone; or nothing.

    Raises:
        FailedError: `who` is neither.
    """
    if who is None:
        return b""
    from mutability import ANYONE, AUTHOR  # noqa: PLC0415 - the library is loaded by those who use it

    rules = {rule.name: rule for rule in (AUTHOR, ANYONE)}
    if who not in rules:
        raise FailedError.usage(f"{who!r} is no rule for objects", "It is author, or anyone.")
    return rules[who].data


# --- writing -----------------------------------------------------------------------------------------------------


def create(call: Call, *, chain: str, media_type: str, topics: Sequence[str] = (), droppable: bool = False) -> Form:
    """A new object with the content that came with the call."""
    objects = _objects(call, chain)
    return _current_form(
        objects, objects.create(call.content, media_type=media_type, topics=topics, droppable=droppable)
    )


def edit(call: Call, *, chain: str, object: str, media_type: str = "", on: Sequence[str] = ()) -> Form:
    """New content, which came with the call, in place of the current one, or of the versions that were read: `on`."""
    objects = _objects(call, chain)
    id = find_object(objects, object)
    read = [find_version(objects, id, version) for version in on]
    with _next_steps(objects, id):
        return _current_form(objects, objects.edit(id, call.content, media_type=media_type, replaces=read))


def merge(call: Call, *, chain: str, object: str, media_type: str = "") -> Form:
    """New content, which came with the call, in place of all versions that nothing replaces."""
    objects = _objects(call, chain)
    id = find_object(objects, object)
    with _next_steps(objects, id):
        return _current_form(objects, objects.merge(id, call.content, media_type=media_type))


def merge_fields(call: Call, *, chain: str, object: str) -> Form:
    """The conflicting JSON documents merged field by field.

    `settled` names the fields that several changed, `left` the versions that are in conflict still: they hold no JSON.
    """
    from mutability import Documents  # noqa: PLC0415 - the library is loaded by those who use it
    from walytis_core import InvalidInputError  # noqa: PLC0415 - the same

    objects = _objects(call, chain)
    id = find_object(objects, object)
    heads = [objects.version(id, head.id) for head in objects.heads(id)[1]]
    if len(heads) < 2:
        hint = "`walytis object list --conflicts` shows the objects that have some."
        raise FailedError("NotFoundError", "this object has no conflicts", hint, EXIT_CODES["LocalError"])
    if any(head.source is not None and head.media_type.partition(";")[0].strip().lower() != _JSON for head in heads):
        raise FailedError.usage("only JSON documents can be merged field by field", _GIVE)
    settled: list[str] = []

    def settle(path: tuple[str, ...], values: Sequence[Any]) -> Any:
        if len(settled) < _MAX_SETTLED:
            settled.append(".".join(path)[:_MAX_NAME] or "the whole document")
        return values[0]

    try:
        with _next_steps(objects, id):
            merged = Documents(objects).merge(id, settle)
    except InvalidInputError as error:
        raise InvalidInputError(str(error), hint=_GIVE) from error
    left = [str(one) for one in _conflicting(objects, id)]
    return _current_form(objects, merged) | {"settled": settled, "left": left}


def delete(call: Call, *, chain: str, object: str, drop: bool = False) -> Form:
    """The object deleted; with `drop` its contents here, too."""
    from walytis_core import NotAllowedError  # noqa: PLC0415 - the library is loaded by those who use it

    objects = _objects(call, chain)
    id = find_object(objects, object)
    try:
        with _next_steps(objects, id):
            return _current_form(objects, objects.delete(id, drop=drop))
    except NotAllowedError as error:
        if not drop or objects.heads(id)[1][0].is_droppable:
            raise  # the rule says so
        hint = "What is to go one day is made with `walytis object create --droppable`; `delete` without --drop hides this."
        raise NotAllowedError(str(error), hint=hint) from error


def restore(call: Call, *, chain: str, object: str, version: str | None = None) -> Form:
    """The content of an earlier version again."""
    objects = _objects(call, chain)
    id = find_object(objects, object)
    return _current_form(objects, objects.restore(id, version and find_version(objects, id, version)))


# --- reading -----------------------------------------------------------------------------------------------------


def show(call: Call, *, chain: str, object: str, version: str | None = None) -> Form:
    """The current version, or another one; of long content, whether it is held here."""
    objects = _objects(call, chain)
    id = find_object(objects, object)
    with _next_steps(objects, id):
        found = objects.get(id) if version is None else objects.version(id, find_version(objects, id, version))
    form = _current_form(objects, found)
    is_long = found.source is not None and found.source.content is not None
    return form | ({"held": objects.chain.has_content(found.require_source())} if is_long else {})


def history(call: Call, *, chain: str, object: str, void: bool = False) -> Iterator[Form]:
    """The versions in canonical order."""
    objects = _objects(call, chain)
    id = find_object(objects, object)
    marks = _marks(objects, id)
    return (version_form(version, marks.get(version.id)) for version in objects.history(id, void=void))


def conflicts(call: Call, *, chain: str, object: str) -> Iterator[Form]:
    """The versions that nothing replaces, the current one first; nothing where it is the only one."""
    objects = _objects(call, chain)
    id = find_object(objects, object)
    others = objects.conflicts(id)
    if others:
        yield from (version_form(version, "current") for version in _current(objects, id))
        yield from (version_form(version, "conflict") for version in others)


def list_objects(
    call: Call,
    *,
    chain: str,
    deleted: bool | None = False,
    conflicts: bool = False,
    media_type: str | None = None,
    topic: str | None = None,
    author: str | None = None,
    since: str | None = None,
    limit: int | None = None,
) -> Iterator[Form]:
    """The objects that meet all conditions, in the order in which they came here.

    With `conflicts`, deleted ones are among them: what conflicts with a deletion would be seen nowhere else.
    """
    from walytis_core import NotFoundError  # noqa: PLC0415 - the library is loaded by those who use it

    objects = _objects(call, chain)
    by = None if author is None else find_author(objects.chain, author)
    after = None if since is None else find_object(objects, since)
    deleted = deleted or (None if conflicts else deleted)

    def found() -> Iterator[Form]:
        for current in objects.objects(deleted=deleted, topic=topic, author=by, since=after):
            try:
                others = _conflicting(objects, current.object)
                if (others or not conflicts) and (media_type is None or _type_of(current) == media_type):
                    topics = _topics(objects, current.object)
                    yield version_form(current, "current") | topics | {"conflicts": len(others)}
            except NotFoundError:  # a late block has changed what counts meanwhile: it is no object now
                continue

    return islice(found(), limit)


# --- behind it ---------------------------------------------------------------------------------------------------


def _objects(call: Call, chain: str) -> Mutable:
    from mutability import Mutable  # noqa: PLC0415 - the library is loaded by those who use it
    from walytis_core import InvalidInputError  # noqa: PLC0415 - the same

    try:
        return Mutable(chain_of(call, chain))
    except InvalidInputError as error:
        hint = "Its objects are for the program that made this chain, which knows the rule: use that."
        raise InvalidInputError(str(error), hint=hint) from error


@contextmanager
def _next_steps(objects: Mutable, id: BlockId) -> Iterator[None]:
    """Has errors, which name the library's calls as what to do next, name commands instead."""
    from walytis_core import DeletedError  # noqa: PLC0415 - the library is loaded by those who use it

    names = f"{shlex.quote(objects.chain.name)} {str(id)[-SHORT:]}"
    try:
        yield
    except DeletedError as error:
        hint = f"`walytis object restore {names}` brings it back, `walytis object history {names}` shows what it was."
        if _conflicting(objects, id):
            hint += f" Other versions are in conflict with its deletion: `walytis object conflicts {names}` shows them."
        raise DeletedError(str(error), hint=hint) from error


def _type_of(version: Version) -> str | None:
    return None if version.source is None else version.media_type


def _current_form(objects: Mutable, version: Version) -> Form:
    """One version, and how many are in conflict with the current one."""
    form = version_form(version, _marks(objects, version.object).get(version.id)) | _topics(objects, version.object)
    return form | {"conflicts": len(_conflicting(objects, version.object))}


def _topics(objects: Mutable, id: BlockId) -> Form:
    """The topics that an object was created with: the ones by which it is listed."""
    from walytis_core import UnavailableError  # noqa: PLC0415 - the library is loaded by those who use it

    try:
        return {"topics": list(objects.chain.block(id).topics)}
    except UnavailableError:  # damaged here
        return {"topics": []}


def _marks(objects: Mutable, id: BlockId) -> dict[BlockId, str]:
    """The versions that nothing replaces."""
    _, (current, *_) = objects.heads(id)
    return dict.fromkeys(_conflicting(objects, id), "conflict") | {current.id: "current"}


def _conflicting(objects: Mutable, id: BlockId) -> list[BlockId]:
    """The versions in conflict with the current one."""
    _, (_, *others) = objects.heads(id)
    return [head.id for head in others]


def _current(objects: Mutable, id: BlockId) -> list[Version]:
    """The current version, also when it deletes; none when it is damaged here."""
    from walytis_core import UnavailableError  # noqa: PLC0415 - the library is loaded by those who use it

    _, (head, *_) = objects.heads(id)
    try:
        return [objects.version(id, head.id)]
    except UnavailableError:
        return []


OBJECT_VERBS: Final[Mapping[str, Verb]] = {
    "object conflicts": conflicts,
    "object create": create,
    "object delete": delete,
    "object edit": edit,
    "object history": history,
    "object list": list_objects,
    "object merge": merge,
    "object merge-fields": merge_fields,
    "object restore": restore,
    "object show": show,
}
