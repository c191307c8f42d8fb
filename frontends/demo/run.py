"""What `walytis demo` does: finds the input, plays the story in a folder, tells it, and says whether it passed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from frontends.console import terminal
from frontends.demo.material import Plan, default_folder, gather, make_plan, shipped, with_a_long_one
from frontends.demo.pages import Lines, Page
from frontends.demo.story import Story, Tell
from frontends.failures import FailedError

_PAGE_COLUMNS: Final = 80


def run_demo(source: Path | None, keep: Path | None, *, as_json: bool) -> bool:
    """Runs the demo; whether it passed.

    Args:
        source: A folder whose files are appended; None for the default input.
        keep: A new or empty folder for the peers' directories; None for one that is removed.
        as_json: JSON lines instead of a page.

    Raises:
        FailedError: It could not be run to its end.
    """
    with _work_folder(keep) as work:
        folder, plan, skipped = _input(source, work)
        if as_json:
            return _play(folder, plan, skipped, work, Lines().tell)
        console = terminal(None)
        if not console.is_terminal:
            console.width = min(console.width, _PAGE_COLUMNS)  # a story to be read, wherever it goes
        with Page(console) as page:
            return _play(folder, plan, skipped, work, page.tell)


def _play(folder: str, plan: Plan, skipped: int, work: Path, tell: Tell) -> bool:
    long, files = plan.long, len({file.path for file in plan.files})
    fields = {"folder": folder, "files": files, "skipped": skipped, "times": len(plan.files) // files}
    fields |= {"bytes": sum(file.size for file in plan.files), "blocks": plan.parts}
    tell("input", {**fields, "long": ", ".join(long[:2]) + (", ..." if len(long) > 2 else "")})
    return Story(plan, work, tell).play()


def _input(source: Path | None, work: Path) -> tuple[str, Plan, int]:
    if source is not None:
        found = gather(source)
        return str(source), make_plan(found.files), found.skipped
    docs = default_folder()
    extra = work / "input"
    extra.mkdir()
    if docs is not None:
        found = gather(docs)
        return "docs/", make_plan(with_a_long_one(found.files, extra)), found.skipped
    return "this installation", make_plan(shipped(extra)), 0


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="walytis-demo-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise FailedError.usage(f"the folder {keep} is not empty", "Name a new folder.")
    except OSError as error:
        raise FailedError.usage(f"cannot use the folder {keep}: {error.strerror}") from error
    yield keep
