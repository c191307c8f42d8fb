"""What holds for every test: conformance lines, markers that imply others, no network but loopback."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys

import pytest
from hypothesis import HealthCheck, settings

from tools.conformance import lines_named

settings.register_profile(
    "default",
    deadline=None,  # a shared machine; pytest-timeout guards against hanging
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
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
        if item.get_closest_marker("crash"):
            item.add_marker("serial")
        if item.get_closest_marker("serial"):
            item.add_marker("slow")
    if config.getoption("--conformance"):
        chosen = [item for item in items if item.user_properties]
        config.hook.pytest_deselected(items=[item for item in items if not item.user_properties])
        items[:] = chosen


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
