"""Who may do what to an object: the rule of a chain, and the verdict on one change.

Theory: a verdict depends on what is changed by whom, on the versions that the block names, and on their own verdicts: it
is a function of the causal past, and final. That the object itself is in that past follows by induction: an obeyed
version builds on obeyed versions of the same object, down to the block that created it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, cast

from mutability.payloads import CREATED, DELETED, EDITED, RESTORED, Change
from walytis_core import BlockId, Obeyed, Past, Standing, Void, cbor
from walytis_core.errors import InvalidInputError, NotFoundError, RemoteError

_DATA_KEY: Final = "mutability"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Who may create, edit, delete and restore the objects of a chain.

    `AUTHOR`: whoever created an object; `ANYONE`: whoever may write. Or a function of your own, which is asked about
    each change that is otherwise in order:

    >>> def keep(change, author, past):
    ...     return Void("nothing is deleted here") if change.kind == DELETED else Obeyed()
    >>> rule = Rule("keep/1", keep)

    Args:
        name: Tells rules apart: change it when the function comes to judge otherwise, and all is judged anew.
        judge: Says `Obeyed()`, `Void(reason)` or `Wait(chain, heads)` of a change, the multikey of its author and its
            causal past alone: without clock, randomness or IO, so that each node says the same (docs/guides/layers.md).
    """

    name: str
    judge: Callable[[Change, bytes, Past], Standing]

    @property
    def data(self) -> bytes:
        """Names the rule in a genesis, so that all who join the chain have the same: `create_chain(..., data=)`."""
        return cbor.encode({_DATA_KEY: self.name})


def _only_its_author(change: Change, author: bytes, past: Past) -> Standing:
    is_its_author = change.object is None or past.header(change.object).author == author
    return Obeyed() if is_its_author else Void("only its author may change this object")


AUTHOR: Final = Rule("author", _only_its_author)
ANYONE: Final = Rule("anyone", lambda _change, _author, _past: Obeyed())


def rule_of(data: bytes, asked: Rule | None) -> Rule:
    """The rule of a chain with this genesis data: the one it names; else the one asked for, or `AUTHOR`.

    Raises:
        InvalidInputError: It names another one than is asked for, or one that is not known here.
    """
    try:
        named = cbor.decode(data, max_bytes=len(data), max_depth=cbor.MAX_DEPTH)
    except RemoteError:  # data of the app's own
        named = None
    name = named.get(_DATA_KEY) if isinstance(named, dict) else None
    rule = asked or {None: AUTHOR, AUTHOR.name: AUTHOR, ANYONE.name: ANYONE}.get(cast(str, name))
    if rule is None or name not in (None, rule.name):
        raise InvalidInputError(f"the rule of this chain's objects is {name!r}", hint="Give it: Mutable(chain, rule).")
    return rule


def verdict(rule: Rule, change: Change, author: bytes, named: Collection[BlockId], past: Past) -> Standing:
    """What is to be made of a change; `named` is what its block names, and `past` what its author had seen."""
    for id in change.named:
        standing = _standing(id, named, past)
        if not isinstance(standing, Obeyed):
            return Void("it builds on a void version") if isinstance(standing, Void) else standing
    if change.kind == EDITED and all(past.header(id).type == DELETED for id in change.replaces):
        return Void("it edits what is deleted")
    if change.kind == RESTORED and past.header(change.named[-1]).type not in (CREATED, EDITED):
        return Void("it restores what has no content")
    return rule.judge(change, author, past)


def _standing(id: BlockId, named: Collection[BlockId], past: Past) -> Standing:
    if id not in named:
        return Void("it builds on a version that is not among its parents")
    try:
        return past.standing(id)
    except NotFoundError:
        return Void("it builds on what is no version of this object")
