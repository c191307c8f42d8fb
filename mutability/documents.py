"""JSON documents as objects, and the merge of concurrent edits of them, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

from mutability.mutable import Mutable, Ref, Version
from walytis_core.errors import InvalidInputError

JSON: Final = "application/json"
MAX_DOCUMENT_BYTES: Final = 16 << 20  # what a peer can have us parse
_MAX_DEPTH: Final = 64  # fields within fields that are merged; what is deeper changes as a whole
MAX_NESTING: Final = 256  # of lists and fields; how deep a Python itself reads depends on its version
_ABSENT: Final = object()
_NESTING: Final = (dict, list, tuple)
Settle: TypeAlias = Callable[[tuple[str, ...], Sequence[Any]], Any]


class Documents:
    """JSON documents among the objects of a chain; `objects` has all else: deleting, history, listing.

    >>> from walytis_core import Node
    >>> with Node.in_memory() as node:
    ...     todo = Documents(Mutable(node.create_chain("todo")))
    ...     item = todo.create({"what": "milk", "done": False})
    ...     version = todo.edit(item, {**todo.get(item), "done": True})
    ...     todo.get(item)
    {'what': 'milk', 'done': True}
    """

    def __init__(self, objects: Mutable) -> None:
        self.objects = objects

    def create(self, document: Any, *, topics: Collection[str] = ()) -> Version:
        """Makes an object of what `json.dumps` can write. Raises as `Mutable.create`."""
        return self.objects.create(_write(document), media_type=JSON, topics=topics)

    def edit(self, object: Ref, document: Any) -> Version:
        """Puts another document in its place. Raises as `Mutable.edit`."""
        return self.objects.edit(object, _write(document), media_type=JSON)

    def get(self, object: Ref) -> Any:
        """The current document. Raises as `Mutable.get`; `InvalidInputError` when its author wrote no JSON."""
        if (document := _read(self.objects.get(object))) is _ABSENT:
            raise InvalidInputError("it is no JSON of at most 16 MiB", hint="`Mutable.get` gives the content as it is.")
        return document

    def merge(self, object: Ref, settle: Settle | None = None) -> Version:
        """Merges what conflicts, field by field: what one side changed is taken. What is no JSON stays in conflict.

        Where several sides changed a field, `settle` gives the value, from its path and their values, the current one
        first; left out, that is taken. Raises as `get`; `UnavailableError` where long content is not held.
        """
        id, found = self.objects.heads(object)
        heads = [self.objects.version(id, head.id) for head in found]
        sides = [head for head in heads if _read(head) is not _ABSENT]
        if not sides:
            self.get(object)  # raises
        if len(found) == 1:
            return heads[0]
        merged = merge_fields(_read(self._common(sides)), [_read(side) for side in sides], settle)
        replaced = [head.id for head in heads if head in sides or head.source is None]
        return self.objects.merge(id, _write(merged), media_type=JSON, replaces=replaced)

    def _common(self, heads: Sequence[Version]) -> Version:
        """A version on which all of these build, by every way: at the latest the first of all."""
        front = {head.id: head for head in heads}
        while len(front) > 1:
            last = front.pop(max(front, key=lambda id: (front[id].block.height, id)))
            front.update((id, self.objects.version(last.object, id)) for id in last.change.replaces)
        return front.popitem()[1]


def merge_fields(base: Any, values: Sequence[Any], settle: Settle | None = None, path: tuple[str, ...] = ()) -> Any:
    """The three-way merge of JSON values, the current one first, that come from one base."""
    old_text, *texts = ["" if one is _ABSENT else json.dumps(one, sort_keys=True) for one in (base, *values)]
    changed = list({text: one for text, one in zip(texts, values, strict=True) if text != old_text}.values())
    if len(changed) < 2:
        return changed[0] if changed else base
    if len(path) == _MAX_DEPTH or not all(isinstance(value, dict) for value in changed):
        return settle(path, [value for value in changed if value is not _ABSENT]) if settle else changed[0]
    old = base if isinstance(base, dict) else {}
    merged = {
        name: merge_fields(old.get(name, _ABSENT), [one.get(name, _ABSENT) for one in changed], settle, (*path, name))
        for name in dict.fromkeys(name for value in (old, *changed) for name in value)
    }
    return {name: value for name, value in merged.items() if value is not _ABSENT}


def _write(document: Any) -> bytes:
    try:
        written, nests = json.dumps(document, allow_nan=False).encode(), [document]
        for _ in range(MAX_NESTING):  # a level each
            values = (one.values() if isinstance(one, dict) else one for one in nests if isinstance(one, _NESTING))
            nests = [one for inner in values for one in inner]
        if any(isinstance(one, _NESTING) for one in nests):
            raise ValueError(f"More than {MAX_NESTING} levels")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError("that is no JSON document", hint=f"{error}: give what json.dumps writes.") from error
    return written


def _read(version: Version) -> Any:
    """The document of a version; absent when it deletes, or is no JSON that we write."""
    if (source := version.source) is not None and (source.content is None or source.content.size <= MAX_DOCUMENT_BYTES):
        with suppress(ValueError, RecursionError, InvalidInputError):
            _write(document := json.loads(source.payload))
            return document
    return _ABSENT
