"""What holds for every test: conformance lines, markers that imply others, real IPFS daemons, no network but loopback.

Tests with a real daemon (marker `kubo`, or the fixture of that name) are skipped where there is none, and the run says so at
its end. WALYTIS_KUBO=required has them fail instead.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.suites.kubo_daemon import MISSING, Daemon, binary, version
from tools.conformance import lines_named

settings.register_profile(
    "default",
    deadline=None,  # a shared machine; pytest-timeout guards against hanging
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.register_profile(
    "first", settings.get_profile("default"), phases=[Phase.explicit, Phase.generate], database=None
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", action="store_true", help="only tests that name a line of tests/conformance.md")


def pytest_configure() -> None:
    """Undoes `command &` and some runners of CI: an ignored SIGINT is handed down, and no child would end by it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        test = getattr(item, "function", None)
        for line in lines_named(getattr(test, "__doc__", None) or ""):
            item.user_properties.append(("conformance", line))  # ends in the junit file
        if "kubo" in getattr(item, "fixturenames", ()):
            item.add_marker("kubo")
        if item.get_closest_marker("kubo"):
            item.user_properties.append(("needs", "kubo"))
            item.add_marker("slow")
        if item.get_closest_marker("crash"):
            item.add_marker("serial")
        if item.get_closest_marker("serial"):
            item.add_marker("slow")
    if config.getoption("--conformance"):
        chosen = [item for item in items if any(name == "conformance" for name, _ in item.user_properties)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


# --- real IPFS daemons --------------------------------------------------------------------------------------------


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kubo") and binary() is None:
        pytest.skip(MISSING)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.get_closest_marker("kubo") and os.environ.get("WALYTIS_KUBO") == "required":
        report.outcome = "failed"
        report.longrepr = f"WALYTIS_KUBO=required, and this test was skipped: {report.longrepr}"
    return report


@pytest.fixture
def kubo(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons, started, each with its own repository: `kubo(pubsub=False)`. They end with the test."""
    daemons: list[Daemon] = []

    def start(**options: object) -> Daemon:
        daemons.append(Daemon(tmp_path / f"kubo{len(daemons)}", **options))  # type: ignore[arg-type] # as they come
        return daemons[-1].start()

    yield start
    for daemon in daemons:
        daemon.kill()
        sys.stderr.write(daemon.log())  # shown with a test that failed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = [
        (outcome, report)
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.getreports(outcome)
        if ("needs", "kubo") in map(tuple, getattr(report, "user_properties", ()))
    ]
    ran = {report.nodeid for outcome, report in ended if outcome in {"passed", "failed"} and report.when == "call"}
    left_out = {report.nodeid for _, report in ended} - ran
    if ran:
        terminalreporter.write_line(f"Kubo {version()}: {len(ran)} tests ran on real daemons")
    if left_out:
        how = "" if binary() else ": " + MISSING
        terminalreporter.write_line(f"Kubo: {len(left_out)} tests were skipped{how}", yellow=True)
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if report.nodeid not in left_out and isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests were skipped: {reason}", yellow=True)


# --- loopback only ------------------------------------------------------------------------------------------------


def _stay_on_loopback(event: str, args: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    connecting, address = args
    if not isinstance(connecting, socket.socket) or connecting.type != socket.SOCK_STREAM:
        return  # connecting a datagram socket sends nothing
    if connecting.family in {socket.AF_INET, socket.AF_INET6} and isinstance(address, tuple):
        host = str(address[0])
        if host != "localhost" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            message = f"a test connects to {host}: only loopback is allowed"
            raise AssertionError(message)


sys.addaudithook(_stay_on_loopback)
