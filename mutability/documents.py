"""JSON documents as objects, and the merge of concurrent edits of them, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Final, TypeAlias

from mutability.mutable import Mutable, Ref
from mutability.versions import Version
from walytis_core.errors import InvalidInputError

MEDIA_TYPE: Final = "application/json"
MAX_DOCUMENT_BYTES: Final = 16 << 20  # what a peer can have us parse
_MAX_DEPTH: Final = 64  # fields within fields that are merged; what is deeper changes as a whole
_ABSENT: Final = object()

Settle: TypeAlias = Callable[[tuple[str, ...], Sequence[Any]], Any]
"""Gives the value of a field, by its path, that was changed in different ways at once: one of several, the current first."""


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
        return self.objects.create(_write(document), media_type=MEDIA_TYPE, topics=topics)

    def edit(self, object: Ref, document: Any) -> Version:
        """Puts another document in its place. Raises as `Mutable.edit`."""
        return self.objects.edit(object, _write(document), media_type=MEDIA_TYPE)

    def get(self, object: Ref) -> Any:
        """The current document. Raises as `Mutable.get`; `InvalidInputError` when its author wrote no JSON."""
        document = _read(self.objects.get(object))
        if document is _ABSENT:
            raise InvalidInputError(
                "its content is no JSON document of up to 16 MiB", hint="`objects.get` has its bytes."
            )
        return document

    def merge(self, object: Ref, settle: Settle | None = None) -> Version:
        """Merges what conflicts, field by field: what one side changed is taken. Versions that are no JSON are left out.

        Raises as `Mutable.merge`, and `UnavailableError` where long content is not held.

        Args:
            settle: Decides on fields that both sides changed; left out, the current version does.
        """
        heads = [self.objects.get(object), *self.objects.conflicts(object)]
        values = [value for value in map(_read, heads) if value is not _ABSENT]
        merged = merge_fields(_read(self._common(heads)), values, settle)
        return self.objects.merge(object, _write(None if merged is _ABSENT else merged), media_type=MEDIA_TYPE)

    def _common(self, heads: Sequence[Version]) -> Version:
        """The last version in canonical order on which all of these build: at the latest the first of all."""
        reached = {head.id: {head.id} for head in heads}
        todo = [(-head.block.height, head.id, head) for head in heads]
        heapify(todo)
        while len(reached[todo[0][1]]) < len(heads):
            _, id, version = heappop(todo)
            for replaced in version.change.replaces:
                if replaced not in reached:
                    older = self.objects.version(version, replaced)
                    heappush(todo, (-older.block.height, replaced, older))
                reached.setdefault(replaced, set()).update(reached[id])
        return todo[0][2]


def merge_fields(base: Any, values: Sequence[Any], settle: Settle | None = None, path: tuple[str, ...] = ()) -> Any:
    """The three-way merge of JSON values, the current one first, that come from one base."""
    changed = list({_text(value): value for value in values if _text(value) != _text(base)}.values())
    if len(changed) < 2:
        return changed[0] if changed else base
    if len(path) == _MAX_DEPTH or not all(isinstance(value, dict) for value in changed):
        return settle(path, [value for value in changed if value is not _ABSENT]) if settle else changed[0]
    old, merged = base if isinstance(base, dict) else {}, {}
    for name in dict.fromkeys(name for value in (old, *changed) for name in value):
        sides = [value.get(name, _ABSENT) for value in changed]
        merged[name] = merge_fields(old.get(name, _ABSENT), sides, settle, (*path, name))
    return {name: value for name, value in merged.items() if value is not _ABSENT}


def _text(value: Any) -> str:
    return "" if value is _ABSENT else json.dumps(value, sort_keys=True)  # to JSON, true is not 1


def _write(document: Any) -> bytes:
    try:
        return json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError("that is no JSON document", hint="Give what json.dumps can write.") from error


def _read(version: Version) -> Any:
    """The document of a version; absent when it deletes, or is no JSON that we read."""
    source = version.source
    if source is None or (source.content is not None and source.content.size > MAX_DOCUMENT_BYTES):
        return _ABSENT
    try:
        return json.loads(source.payload)
    except (ValueError, RecursionError):
        return _ABSENT
