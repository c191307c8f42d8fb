"""A long, bounded simulation: random scenarios one after another, each from its own seed.

Each scenario has its own network, faults and hostile peers, and ends with a naive second opinion about everything held. A seed
that fails is printed with the reason, to be added to `tests/simulations/regressions.txt`; the exit code is 1 then. Beside each
scenario go some random histories of identities, judged as `tests/properties/test_authority.py` does, where theirs belong, and
two simulated years of five devices, whose seeds belong into `tests/simulations/identity_regressions.txt`.

    python -m benchmarks.soak --minutes 10
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.suites.identity_judge import judge
from tests.suites.identity_lives import live
from walytis_core.simulation import InvariantError, Scenario, play

PRINT_EVERY_S = 10.0
HISTORIES = 25
"""Of identities, beside each scenario."""

_FAILURES = (InvariantError, AssertionError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError)


def soak(minutes: float, first: int) -> Iterator[tuple[str, Exception | None]]:
    """Plays scenarios and judges histories until the time is over; each with what went wrong, if anything did."""
    until_s = time.monotonic() + 60 * minutes
    seed = first
    while time.monotonic() < until_s:
        scenario = Scenario.of(seed)
        yield f"seed {seed}: {scenario}", _outcome(play, scenario)
        for history in range(HISTORIES * seed, HISTORIES * (seed + 1)):
            yield f"identity history {history}", _outcome(judge, history)
        yield f"identity life {seed} 5 2", _outcome(lambda seed: live(seed, 5, 2), seed)
        seed += 1


def _outcome(try_it: Callable[[Any], object], what: object) -> Exception | None:
    try:
        try_it(what)
    except _FAILURES as error:
        return error
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 by default")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first seed; the time by default")
    chosen = parser.parse_args(arguments)
    print(f"seeds from {chosen.seed} on, for {chosen.minutes:g} minutes", flush=True)
    played, failed, last_s = 0, 0, time.monotonic()
    for name, error in soak(chosen.minutes, chosen.seed):
        played += 1
        if error is not None:
            failed += 1
            print(f"\n{name} FAILED")
            traceback.print_exception(error, file=sys.stdout)
        if error is not None or time.monotonic() - last_s > PRINT_EVERY_S:
            last_s = time.monotonic()
            print(f"{name}\n{played} played, {failed} failed", flush=True)
    print(f"{played} scenarios and histories, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
