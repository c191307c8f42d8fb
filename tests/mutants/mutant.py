"""What a mutant is: a text of a module, and the text that takes its place.

Rules for editing: the old text stands exactly once in the module; a killing test fails because a statement about state or
outcome does not hold, never because something crashed.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One mutant.

    Attributes:
        name: Which guard it lacks.
        module: The module, without the package where that is `walytis_core`.
        old: The text that is replaced.
        new: What stands there instead.
        killers: Tests, as pytest names them from `tests/unit/walytis_core`, without the ending of the file.
    """

    name: str
    module: str
    old: str
    new: str
    killers: tuple[str, ...]
