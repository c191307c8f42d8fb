"""The fourth process of the demo: opens the three closed directories, and trusts nobody's word.

Run as `python -m frontends.demo.judge PLAN DIRECTORY...`. It verifies every block, rebuilds every file from the blocks,
and compares their SHA-256 with the input's. Invariants: it is on no network; exit code 0 only when all directories hold
the same block ids and all files are the input's.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from frontends.demo.material import Plan, part_of, sha256_of
from frontends.demo.peer import CHAIN
from frontends.demo.voice import Voice
from frontends.reach import open_node
from walytis_core import Block, Chain, WalytisError


def judge(plan: Plan, directories: list[Path]) -> dict[str, Any]:
    """What the directories hold, and whether it is all the same, and the input."""
    wanted = {file.label: sha256_of(Path(file.path)) for file in plan.files}
    found = []
    ids: list[set[str]] = []
    dots: list[dict[str, Any]] = []
    for directory in directories:
        with open_node(directory, online=False) as node:
            chain = node.chain(CHAIN)
            report = chain.verify()
            blocks = list(chain.blocks())
            ids.append({str(block.id) for block in blocks})
            right = [label for label, digest in rebuild(chain, blocks).items() if wanted.get(label) == digest]
            found.append({
                "peer": directory.name, "blocks": len(blocks), "verified": report.checked,
                "corrupt": len(report.corrupt), "problems": [str(problem) for problem in report.problems],
                "heads": [str(head) for head in chain.heads], "files": len(right), "of": len(wanted),
            })  # fmt: skip
            dots = dots or [dot_of(block) for block in blocks]
    same = all(each == ids[0] for each in ids)
    clean = all(not each["corrupt"] and not each["problems"] and each["files"] == len(wanted) for each in found)
    return {"directories": found, "same_ids": same, "ok": same and clean and bool(ids[0]), "dots": dots}


def rebuild(chain: Chain, blocks: list[Block]) -> dict[str, str]:
    """The SHA-256 of each file whose parts are all there, each once; files in one piece are streamed."""
    parts: dict[str, dict[int, Block]] = defaultdict(dict)
    counts: dict[str, int] = {}
    for block in blocks:
        part = part_of(block.topics)
        if part is not None:
            label, index, counts[label] = part
            if index in parts[label]:
                counts[label] = -1  # the same part twice: not what was appended
            parts[label][index] = block
    digests = {}
    for label, pieces in parts.items():
        if len(pieces) == counts[label]:
            digest = hashlib.sha256()
            for index in sorted(pieces):
                with chain.block(pieces[index].id).open() as stream:
                    while chunk := stream.read(1 << 20):
                        digest.update(chunk)
            digests[label] = digest.hexdigest()
    return digests


def dot_of(block: Block) -> dict[str, Any]:
    """A block as the picture needs it."""
    named = [str(id) for id in block.ancestors_named]
    return {"id": str(block.id), "author": block.author.hex(), "height": block.height, "named": named}


def main() -> None:
    """Judges, says what was found, and ends with the verdict."""
    plan_path, *directories = sys.argv[1:]
    voice = Voice()
    try:
        verdict = judge(Plan.read(Path(plan_path)), [Path(directory) for directory in directories])
    except (WalytisError, OSError) as error:
        voice.say("failed", message=f"{type(error).__name__}: {error}")
        sys.exit(1)
    dots = verdict.pop("dots")
    for at in range(0, len(dots), 500):
        voice.say("dots", dots=dots[at : at + 500])
    voice.say("verdict", **verdict)
    sys.exit(0 if verdict["ok"] else 1)


if __name__ == "__main__":
    main()
