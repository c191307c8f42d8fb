"""`walytis doctor`: what may be wrong on this machine, one finding per check, each with what to do about it.

Invariants: every check ends in a finding, whatever it meets; nothing in the data directory is changed but a file that
is written to try whether it can be; no check leaves this machine, and no Kubo daemon is looked for where none is named.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from frontends.directory import holds_node, socket_path
from frontends.failures import BUG, FailedError
from frontends.local_socket import dial
from frontends.plain import plain_text
from frontends.render import many
from frontends.unlocking import KEYS

_OK, _WARN, _BAD = "ok", "warn", "bad"
_PYTHONS: Final = ((3, 11), (3, 14))
_SQLITE: Final = (3, 35)  # RETURNING and window of the schema's SQL
_MIN_FREE: Final = 100 << 20
_MIN_YEAR, _MAX_YEAR = 2025, 2100
_CLOCK_S: Final = 60.0
_ROUND_TRIP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: What was looked at.
        level: ``"ok"``, ``"warn"`` or ``"bad"``.
        found: What is the case.
        remedy: What to do; empty when all is well.
    """

    check: str
    level: str
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON data."""
        return asdict(self)


def examine(directory: Path, kubo: str | None = None) -> Iterator[Finding]:
    """Looks at everything, the quick things first; at a Kubo daemon where one is named."""
    checks: tuple[tuple[str, Callable[[Path], Finding]], ...] = (
        ("Python", _python), ("packages", _packages), ("SQLite", _sqlite), ("directory", _directory), ("disk", _disk),
        ("keys", _keys), ("lock", _lock), ("chains", _chains), ("clock", _clock), ("network", _network),
    )  # fmt: skip
    for name, check in checks:
        yield from _outcome(name, lambda check=check: [check(directory)])  # type: ignore[misc]  # of this round
    if kubo is not None:
        yield from _outcome("Kubo", lambda: _kubo(directory, kubo))


def _outcome(name: str, check: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding, and the others go on
        failed = error if isinstance(error, FailedError) else FailedError.of(error)
        return [Finding(name, _BAD, str(failed).removesuffix("."), _remedy(failed, error))]


def _remedy(failed: FailedError, error: Exception) -> str:
    if failed.exit_code == BUG:
        return "This should not happen: please report it."
    if isinstance(error, OSError):  # whose hint is to ask here
        return "Give this user the right to use it, or name another --data-dir."
    return failed.hint


def _python(_directory: Path) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1]:
        return Finding("Python", _OK, version)
    return Finding("Python", _BAD, f"{version} is not supported", "Use Python 3.11, 3.12 or 3.13.")


def _packages(_directory: Path) -> Finding:
    try:
        listed = metadata.requires("walytis-stack") or []
    except metadata.PackageNotFoundError:
        remedy = "In a clone of the repository: pip install '.[frontends]'"
        return Finding("packages", _WARN, "walytis-stack is not installed, only imported", remedy)
    wrong: list[str] = []
    right: list[str] = []
    for line in listed:
        wanted, _, marker = line.partition(";")
        if marker and not re.search(r"""extra == ['"]frontends['"]""", marker):
            continue
        name = re.split(r"[^\w.-]", wanted, maxsplit=1)[0]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        (right if fits(version, wanted) else wrong).append(f"{name} {version}")
    if wrong:
        return Finding(
            "packages", _BAD, ", ".join(wrong), "In a clone of the repository: pip install --upgrade '.[frontends]'"
        )
    return Finding("packages", _OK, ", ".join(right))


def fits(version: str, wanted: str) -> bool:
    """Whether a version meets a requirement such as ``trio<1,>=0.30``; only the comparisons that ours use."""
    have = _numbers(version)
    for how, bound in re.findall(r"(==|>=|<)\s*([\d.]+)", wanted):
        if how == "<" and not have < _numbers(bound):
            return False
        if how == ">=" and not have >= _numbers(bound):
            return False
        if how == "==" and have != _numbers(bound):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part]  # type: ignore[index]  # * always matches
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _sqlite(_directory: Path) -> Finding:
    module = importlib.import_module("sqlite3")  # for its version: only the store uses it
    version = str(module.sqlite_version)
    if module.sqlite_version_info >= _SQLITE:
        return Finding("SQLite", _OK, version)
    wanted = ".".join(map(str, _SQLITE))
    return Finding("SQLite", _BAD, f"{version} is too old", f"Use a Python with SQLite {wanted} or newer.")


def _directory(directory: Path) -> Finding:
    if not directory.exists():
        parent = next(path for path in directory.absolute().parents if path.exists())
        if os.access(parent, os.W_OK):
            return Finding("directory", _OK, f"{directory} is not there yet, and can be made")
        return Finding("directory", _BAD, f"{directory} cannot be made in {parent}", "Name another --data-dir.")
    found = directory.stat()
    if not stat.S_ISDIR(found.st_mode):
        return Finding("directory", _BAD, f"{directory} is no folder", "Name another --data-dir.")
    if found.st_uid != os.getuid():
        return Finding("directory", _BAD, f"{directory} belongs to another user", f"sudo chown -R $USER {directory}")
    with tempfile.TemporaryFile(dir=directory) as trial:
        trial.write(b"x")
        trial.flush()
        os.fsync(trial.fileno())
    open_keys = [path.name for path in (directory / "keys").glob("*") if path.stat().st_mode & 0o077]
    if open_keys:
        return Finding(
            "directory", _BAD, f"others can read {many(len(open_keys), 'key file')}", f"chmod -R go-rwx {directory}"
        )
    if found.st_mode & 0o077:
        return Finding("directory", _WARN, f"others can look into {directory}", f"chmod 700 {directory}")
    return Finding("directory", _OK, f"{directory} is yours alone, and can be written")


def _disk(directory: Path) -> Finding:
    at = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(at).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < _MIN_FREE:
        return Finding("disk", _BAD, text, "Free some space: a full disk stops appending, and loses nothing.")
    return Finding("disk", _OK, text)


def _keys(directory: Path) -> Finding:
    """Whether the keys are sealed, and whether the passphrase that is given opens them; without one they stay shut."""
    from frontends.sealing import NONE, PLAIN, keys_status  # noqa: PLC0415 - loads the library
    from frontends.unlocking import keys_of  # noqa: PLC0415 - the same
    from walytis_core import InUseError  # noqa: PLC0415 - the same

    found = keys_status(directory)
    if found["keys"] == NONE:
        return Finding("keys", _OK, "none yet")
    if found["keys"] == PLAIN:
        return Finding("keys", _OK, "plain files, for you alone; `walytis keys seal` seals them")
    if found["running"]:
        return Finding("keys", _OK, "sealed; `walytis run` has them open")
    try:
        keys_of(directory)(directory / KEYS).close()
    except FailedError as failed:  # nobody gave a passphrase
        return Finding("keys", _WARN, f"sealed, and not tried: {failed}", failed.hint)
    except InUseError:
        return Finding("keys", _OK, "sealed; another program has them open")
    return Finding("keys", _OK, "sealed, and the passphrase opens them")


def _lock(directory: Path) -> Finding:
    connection = dial(socket_path(directory))
    if connection is not None:
        connection.close()
        return Finding("lock", _OK, "`walytis run` has the directory open and answers")
    if not holds_node(directory):
        return Finding("lock", _OK, "no node is in the directory yet")
    from frontends.reach import open_node  # noqa: PLC0415 - loads the library
    from walytis_core import InUseError, LockedError, StorageError  # noqa: PLC0415 - the same

    try:
        open_node(directory, online=False).close()
    except (LockedError, FailedError):  # as the check of the keys tells
        return Finding("lock", _WARN, "whether its store can be read was not found out: the keys are sealed")
    except StorageError:  # which the next check tells, with what to do
        return Finding("lock", _WARN, "whether another program has the directory open was not found out")
    except InUseError as error:
        remedy = "Close that program when you want to use the command; `walytis run` is the one that shares."
        return Finding("lock", _WARN, str(error), remedy)
    return Finding("lock", _OK, "no other program has the directory open; its store can be read")


def _chains(directory: Path) -> Finding:
    if not holds_node(directory):
        return Finding("chains", _OK, "none yet")
    from frontends.reach import answers  # noqa: PLC0415 - what it opens loads the library
    from walytis_core import LockedError  # noqa: PLC0415 - the same

    try:
        (found,) = answers(directory, "status", {})
    except (FailedError, LockedError) as failed:
        return Finding("chains", _WARN, f"not looked at: {failed}")
    if found["damaged"]:
        names = ", ".join(plain_text(chain["name"]) for chain in found["damaged"])
        return Finding("chains", _BAD, f"damaged: {names}", "`walytis list` says what to do.")
    spoilt = [chain for chain in found["chains"] if chain["status"]["corrupt"]]
    if spoilt:
        named = ", ".join(f"{plain_text(each['name'])}: {each['status']['corrupt']}" for each in spoilt)
        remedy = "`walytis run` fetches them again from a peer; `walytis verify` names them."
        return Finding("chains", _BAD, f"damaged blocks in {named}", remedy)
    return Finding("chains", _OK, f"{many(len(found['chains']), 'chain')}; `walytis verify` checks every block")


def _clock(_directory: Path) -> Finding:
    now = datetime.now(UTC)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
        file.flush()
        drift_s = abs(Path(file.name).stat().st_mtime - time.time())
    if not _MIN_YEAR <= now.year < _MAX_YEAR or drift_s > _CLOCK_S:
        return Finding(
            "clock", _BAD, f"it is said to be {now:%Y-%m-%d %H:%M} UTC", "Set the clock: invitations expire by it."
        )
    return Finding("clock", _OK, f"{now:%Y-%m-%d %H:%M} UTC; only invitations and the times shown depend on it")


def _network(_directory: Path) -> Finding:
    """Two nodes of this process share a chain over libp2p on loopback."""
    from walytis_core import Node  # noqa: PLC0415 - loads the library

    started = time.monotonic()
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="walytis-doctor-"))) for _ in range(2)]
        first, second = (stack.enter_context(Node.open(folder)) for folder in folders)
        chain = first.create_chain("doctor")
        chain.append(b"hello")
        copy = second.join(chain.invite()).result(timeout=_ROUND_TRIP_S)
        joined = time.monotonic()
        with copy.follow() as feed:
            chain.append(b"again")
            event = feed.next(timeout=_ROUND_TRIP_S)
        if event is None:
            remedy = "Look for a firewall on the loopback interface, or a very loaded machine."
            return Finding("network", _BAD, "two nodes met, but no block came over", remedy)
        took_ms = (time.monotonic() - joined) * 1000
    return Finding(
        "network", _OK, f"libp2p on loopback: joined in {joined - started:.1f} s, a block took {took_ms:.0f} ms"
    )


_KUBO_CHECKS: Final = {"RPC": "Kubo", "stream mounting": "streams"}  # short enough for a column


def _kubo(directory: Path, url: str) -> Sequence[Finding]:
    """Whether the Kubo daemon will do, one finding for each thing that a node needs of it."""
    from frontends.kubo import PEERS, findings_of, url_of  # noqa: PLC0415 - loads the library
    from frontends.reach import running_on  # noqa: PLC0415 - the same

    runs = running_on(directory)
    is_ours = runs is not None and runs["kubo"] == url_of(url)
    return [
        Finding(
            _KUBO_CHECKS.get(found.what, found.what),
            _OK if found.is_ok else _WARN if found.what == PEERS else _BAD,
            found.message.removesuffix("."),
            found.hint,
        )
        for found in findings_of(url, is_ours=is_ours)
    ]
