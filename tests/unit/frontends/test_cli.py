"""The lists of commands."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from frontends.cli import app


def page_of(group: list[str]) -> tuple[str, list[str]]:
    command: Any = typer.main.get_command(app)
    for name in group:
        command = command.commands[name]
    return command.get_help(command.context_class(command, info_name="walytis")), list(command.commands)


@pytest.mark.parametrize("group", [[], ["id"], ["object"], ["keys"]])
def test_help_fits_a_terminal_of_24_lines_and_names_each_command(monkeypatch, group):
    """C47: nothing of it is cut, either."""
    monkeypatch.setenv("COLUMNS", "80")
    page, commands = page_of(group)
    lines = page.splitlines()
    assert len(lines) <= 23  # and the prompt
    assert max(map(len, lines)) <= 80
    assert set(commands) <= set(page.split())
    assert "..." not in page.partition("Commands:")[2]


def test_each_command_says_what_it_does_in_its_own_help():
    for group in ([], ["id"]):
        command: Any = typer.main.get_command(app)
        for name in group:
            command = command.commands[name]
        for one in command.commands.values():
            assert one.help
            assert one.short_help
