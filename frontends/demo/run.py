"""What `walytis demo` does: finds the input, plays the story in a folder, tells it, and says whether it passed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontends.demo.material import INLINE_BYTES, Plan, default_folder, gather, make_plan, shipped, with_a_long_one
from frontends.demo.pages import Lines, Page
from frontends.demo.story import Story, Tell
from frontends.failures import FailedError
from frontends.render import terminal


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
        folder, plan = _input(source, work)
        if as_json:
            return _play(folder, plan, work, Lines().tell)
        with Page(terminal()) as page:
            return _play(folder, plan, work, page.tell)


def _play(folder: str, plan: Plan, work: Path, tell: Tell) -> bool:
    long = [file.label for file in plan.files if file.size > INLINE_BYTES]
    fields = {"folder": folder, "files": len(plan.files), "bytes": sum(file.size for file in plan.files)}
    tell("input", {**fields, "blocks": plan.parts, "long": ", ".join(long[:2]) + (", ..." if len(long) > 2 else "")})
    return Story(plan, work, tell).play()


def _input(source: Path | None, work: Path) -> tuple[str, Plan]:
    if source is not None:
        return str(source), make_plan(gather(source))
    docs = default_folder()
    extra = work / "input"
    extra.mkdir()
    if docs is not None:
        return "docs/", make_plan(with_a_long_one(gather(docs), extra))
    return "this installation", make_plan(shipped(extra))


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="walytis-demo-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise FailedError.usage(f"{keep} is not empty", "Name a new folder.")
    except OSError as error:
        raise FailedError.usage(f"{keep} cannot be used: {error.strerror}") from error
    yield keep
