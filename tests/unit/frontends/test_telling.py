from __future__ import annotations

from pathlib import Path

import pytest
import typer

from frontends.directory import on_directory
from frontends.failures import FailedError
from frontends.telling import telling, warn


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("`walytis run` goes on", "`walytis run --data-dir 'my data'` goes on"),
        (
            "`walytis log a`, `walytis list`",
            "`walytis log a --data-dir 'my data'`, `walytis list --data-dir 'my data'`",
        ),
        ("See `walytis show --help`.", "See `walytis show --help`."),
        ("`walytis demo` has its own", "`walytis demo` has its own"),
    ],
)
def test_a_command_in_a_hint_acts_on_the_same_directory(monkeypatch, text, named):
    assert on_directory(text, Path("my data")) == named
    assert on_directory(text, None) == text
    monkeypatch.setenv("WALYTIS_DATA_DIR", "my data")
    assert on_directory(text, Path("my data")) == text


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("no such thing", "No such thing."),
        ("data is in use", "data is in use."),
        ("./x is in use", "./x is in use."),
        ("mDNS needs it", "mDNS needs it."),
    ],
)
def test_a_sentence_begins_large_and_a_path_as_it_is(capsys, sentence, shown):
    with pytest.raises(typer.Exit), telling(as_json=False, data_dir=Path("data")):
        raise FailedError.usage(sentence)
    assert capsys.readouterr().err.splitlines()[0] == shown


def test_no_word_of_what_is_told_is_broken(monkeypatch, capsys):
    """C47: a path, an id or a command in it can be copied, however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", "40")
    path, command = Path("/some/where/" + "x" * 60), "`walytis id show did:walytis:" + "b" * 59 + "`"
    with pytest.raises(typer.Exit), telling(as_json=False, data_dir=path):
        raise FailedError.usage(f"what is in {path} is of no use to anybody here", f"Look at it with {command} and see")
    warn(f"there is something about {path} to say", f"Say {command} then.", path)
    lines = capsys.readouterr().err.splitlines()
    words = " ".join(lines)
    assert words.count(f"{command[:-1]} --data-dir {path}`") == 2
    assert words.count(f" {path} ") == 2
    assert all(len(line) <= 40 or str(path) in line for line in lines)
    assert any(line.startswith("What is in") for line in lines)
