"""Objects that can be edited, deleted and restored on a chain that cannot: payloads, a check and a fold on the core."""

from mutability.documents import Documents
from mutability.mutable import Hole, Mutable, Version
from mutability.payloads import CREATED, DELETED, EDITED, RESTORED, Change
from mutability.state import ANYONE, AUTHOR, Rule

__all__ = [
    "ANYONE", "AUTHOR", "CREATED", "DELETED", "EDITED", "RESTORED",
    "Change", "Documents", "Hole", "Mutable", "Rule", "Version",
]  # fmt: skip
