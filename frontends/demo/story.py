"""The course of the demo: who does what, when one is killed, what is measured, and the verdict.

Invariants: the victim dies by SIGKILL while it has appended between 20 and 80 % of its own input, which is checked in
its own directory when it is back; the demo passes only when the judge does. Says what happens as events; how they look
is the business of `pages.py`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from frontends.demo.actors import Actor, Troupe
from frontends.demo.material import PEERS, VICTIM, Plan
from frontends.failures import FailedError
from frontends.lines import Message

Tell = Callable[[str, dict[str, Any]], None]

_LOWEST, _HIGHEST = 0.2, 0.8
_KILL_AT: Final = 0.4  # of its own input
_HOLD_AT: Final = 0.7  # it never gets above this before it is killed
_ABSENT_BLOCKS: Final = 6  # that each of the others appends, at least, while it is away
_START_S: Final = 40.0  # importing and opening, on a loaded machine
_END_S: Final = 15.0


class Story:
    """One run of the demo.

    Args:
        plan: What is appended by whom.
        work: An empty folder for the peers' directories.
        tell: Told what happens: an event's name and its fields.
    """

    def __init__(self, plan: Plan, work: Path, tell: Tell) -> None:
        self._plan = plan
        self._work = work
        self._tell = tell
        self._began = time.monotonic()
        self._said: dict[str, dict[str, Message]] = defaultdict(dict)
        self._dots: list[Message] = []
        self._actors: dict[str, Actor] = {}
        self._others = [name for name in PEERS if name != VICTIM]
        plan.write(work / "plan.json")

    def play(self) -> bool:
        """Plays it to its end; whether it passed.

        Raises:
            FailedError: A process failed or stalled.
        """
        with Troupe(self._work, self._hear) as troupe:
            self._open(troupe)
            self._join(troupe)
            self._append_and_kill(troupe)
            self._return(troupe)
            self._complete(troupe)
        with Troupe(self._work, self._hear) as troupe:
            return self._judge(troupe)

    # --- acts ------------------------------------------------------------------------------------------------

    def _open(self, troupe: Troupe) -> None:
        for name in PEERS:
            self._start(troupe, name)
        troupe.until(lambda: self._all_said("open"), "opening three nodes", stall_s=_START_S)
        opened = {name: self._said[name]["open"]["addresses"][:1] for name in PEERS}
        self._event("open", peers=opened, pids={name: actor.process.pid for name, actor in self._actors.items()})

    def _join(self, troupe: Troupe) -> None:
        first = PEERS[0]
        self._actors[first].tell(do="create", invitations=len(PEERS) - 1)
        troupe.until(lambda: "created" in self._said[first], "creating the chain")
        created = self._said[first]["created"]
        self._event("created", peer=first, chain=created["chain"])
        for name, uri in zip(PEERS[1:], created["uris"], strict=True):
            self._actors[name].tell(do="join", uri=uri)
        troupe.until(lambda: all("joined" in self._said[name] for name in PEERS[1:]), "joining")
        for name in PEERS[1:]:
            self._event("joined", peer=name, took_s=self._said[name]["joined"]["seconds"])

    def _append_and_kill(self, troupe: Troupe) -> None:
        share = len(self._plan.shares[VICTIM])
        self._event("appending", shares={name: len(self._plan.shares[name]) for name in PEERS})
        self._appending = time.monotonic()
        for name in PEERS:
            self._actors[name].tell(do="append", hold_at=int(_HOLD_AT * share) if name == VICTIM else None)
        troupe.until(lambda: self._own(VICTIM) >= _KILL_AT * share, "appending")
        victim = self._actors[VICTIM]
        troupe.dismiss(victim)
        code = victim.kill()
        self._killed = time.monotonic()
        before = {name: self._own(name) for name in self._others}
        self._event("killed", peer=VICTIM, signal=-code, own=self._own(VICTIM), of=share)
        enough = {name: min(before[name] + _ABSENT_BLOCKS, len(self._plan.shares[name])) for name in self._others}
        troupe.until(lambda: all(self._own(name) >= enough[name] for name in self._others), "going on without it")
        self._event("went on", appended={name: self._own(name) - before[name] for name in self._others})

    def _return(self, troupe: Troupe) -> None:
        share = len(self._plan.shares[VICTIM])
        self._said[VICTIM].clear()
        self._start(troupe, VICTIM)
        troupe.until(lambda: "open" in self._said[VICTIM], "coming back", stall_s=_START_S)
        self._actors[VICTIM].tell(do="resume")
        troupe.until(lambda: "resumed" in self._said[VICTIM], "coming back")
        resumed = self._said[VICTIM]["resumed"]
        own, held, since = resumed["own"], resumed["held"], time.monotonic()
        self._event("back", peer=VICTIM, own=own, of=share, held=held, away_s=since - self._killed)
        if not _LOWEST * share <= own <= _HIGHEST * share:
            raise FailedError("DemoError", f"{VICTIM} was killed at {own} of {share} blocks, not between 20 and 80 %",
                              "The machine was too slow to hit the moment: run it again.", 1)  # fmt: skip
        target = max(self._held(name) for name in self._others)
        troupe.until(lambda: self._held(VICTIM) >= target, "catching up")
        self._event("caught up", peer=VICTIM, blocks=target - held, took_s=time.monotonic() - since)
        self._actors[VICTIM].tell(do="append")

    def _complete(self, troupe: Troupe) -> None:
        whole = self._plan.parts
        troupe.until(lambda: all(self._held(name) >= whole for name in PEERS), "completing all three")
        troupe.until(lambda: all("finished" in self._said[name] for name in PEERS), "finishing")
        self._event("complete", blocks=whole, took_s=time.monotonic() - self._appending)
        for actor in self._actors.values():
            troupe.dismiss(actor)
            actor.tell(do="close")
        codes = {name: actor.wait(_END_S) for name, actor in self._actors.items()}
        if any(code != 0 for code in codes.values()):
            words = "\n".join(actor.last_words() for actor in self._actors.values())
            raise FailedError("DemoError", f"closing did not end well: exit codes {codes}", words, 1)
        self._event("closed", peers=list(PEERS))

    def _judge(self, troupe: Troupe) -> bool:
        judge = troupe.start(
            "judge", "frontends.demo.judge", str(self._work / "plan.json"), *(str(self._work / name) for name in PEERS)
        )
        troupe.dismiss(judge)
        troupe.until(lambda: "verdict" in self._said["judge"], "judging", stall_s=2 * _START_S)
        verdict = self._said["judge"]["verdict"]
        code = judge.wait(_END_S)
        authors = {self._said[name]["appended"]["author"]: name for name in PEERS}
        self._tell("picture", {"dots": self._dots, "authors": authors})
        passed = bool(verdict["ok"]) and code == 0
        fields = {key: verdict[key] for key in ("directories", "same_ids")}
        self._event("verdict", passed=passed, **fields, total_s=time.monotonic() - self._began)
        return passed

    # --- what was said ---------------------------------------------------------------------------------------

    def _start(self, troupe: Troupe, name: str) -> None:
        arguments = (name, str(self._work / name), str(self._work / "plan.json"))
        self._actors[name] = troupe.start(name, "frontends.demo.peer", *arguments)

    def _hear(self, actor: Actor, message: Message) -> None:
        if message["is"] == "dots":
            self._dots.extend(message["dots"])
            return
        if actor is self._actors.get(actor.name) or actor.name == "judge":  # not what a dead one had still to say
            self._said[actor.name][message["is"]] = message
            if message["is"] in {"appended", "held"}:
                self._tell("progress", {name: self._held(name) for name in PEERS} | {"of": self._plan.parts})

    def _all_said(self, kind: str) -> bool:
        return all(kind in self._said[name] for name in PEERS)

    def _own(self, name: str) -> int:
        return int(self._said[name].get("appended", {}).get("own", 0))

    def _held(self, name: str) -> int:
        return int(self._said[name].get("held", {}).get("count", 0))

    def _event(self, event: str, **fields: Any) -> None:
        self._tell(event, {"at_s": round(time.monotonic() - self._began, 3), **fields})
