"""A long, bounded simulation: random scenarios one after another, each from its own seed.

Each scenario has its own network, faults and hostile peers, and ends with a naive second opinion about everything held. A seed
that fails is printed with the reason, to be added to `tests/simulations/regressions.txt`; the exit code is 1 then.

    python -m benchmarks.soak --minutes 10
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence

from walytis_core.simulation import InvariantError, Scenario, play

PRINT_EVERY_S = 10.0


def soak(minutes: float, first: int) -> Iterator[tuple[Scenario, Exception | None]]:
    """Plays scenarios until the time is over; each with what went wrong, if anything did."""
    until_s = time.monotonic() + 60 * minutes
    seed = first
    while time.monotonic() < until_s:
        scenario = Scenario.of(seed)
        try:
            play(scenario)
        except (InvariantError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            yield scenario, error
        else:
            yield scenario, None
        seed += 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 by default")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first seed; the time by default")
    chosen = parser.parse_args(arguments)
    print(f"seeds from {chosen.seed} on, for {chosen.minutes:g} minutes", flush=True)
    played, failed, last_s = 0, 0, time.monotonic()
    for scenario, error in soak(chosen.minutes, chosen.seed):
        played += 1
        if error is not None:
            failed += 1
            print(f"\nseed {scenario.seed} FAILED: {scenario}")
            traceback.print_exception(error, file=sys.stdout)
        if error is not None or time.monotonic() - last_s > PRINT_EVERY_S:
            last_s = time.monotonic()
            print(f"seed {scenario.seed}: {played} played, {failed} failed", flush=True)
    print(f"{played} scenarios, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
