"""Passphrases: from files, or the terminal, once a command."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from frontends import unlocking
from frontends.commands.codes import kept_code, typed_code
from frontends.failures import FailedError
from frontends.options import DataDir
from frontends.unlocking import VARIABLE, Passphrase, asked_twice, current, is_sealed, keys_of, read_file, unlocks
from identities import Keystore
from walytis_core import WrongPassphraseError
from walytis_core.keys import FileKeys


@pytest.fixture
def typing(monkeypatch):
    """A terminal, and what is typed on it."""
    typed: list[str] = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: typed.pop(0))
    return typed


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"five words", b"five words"), (b"five words\n", b"five words"), (b"five words\r\n", b"five words"),
     (b" a b \n\n", b" a b \n"), ("cafe\u0301\n".encode(), "caf\u00e9".encode()), (b"\xff\n", b"\xff")],
)  # fmt: skip
def test_a_passphrase_is_what_a_file_holds_but_for_the_end_of_its_line(tmp_path, content, expected):
    (tmp_path / "file").write_bytes(content)
    assert read_file(tmp_path / "file") == expected


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\r\n"])
def test_a_file_that_holds_none(tmp_path, content):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(FailedError) as failed:
        read_file(tmp_path / "file")
    assert failed.value.exit_code in {2, 3}


def test_without_a_terminal_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: pytest.fail("asked"))
    with pytest.raises(FailedError) as failed:
        Passphrase(None).get()
    assert (failed.value.name, failed.value.exit_code) == ("LockedError", 3)
    assert VARIABLE in failed.value.hint


def test_a_passphrase_is_asked_for_once(typing):
    typing += ["five words"]
    passphrase = Passphrase(None)
    assert passphrase.get() == passphrase.get() == b"five words"


def test_a_new_one_is_typed_twice(typing):
    typing += ["a", "a", "a", "b"]
    assert asked_twice("New: ") == b"a"
    with pytest.raises(FailedError, match="not the same"):
        asked_twice("New: ")


@pytest.mark.parametrize("typed", ["", "  "])
def test_nothing_is_no_passphrase(typing, typed):
    typing += [typed]
    with pytest.raises(FailedError):
        Passphrase(None).get()


def test_what_is_not_sealed_is_opened_as_it_is(tmp_path, typing):
    del typing
    assert not is_sealed(tmp_path)
    assert keys_of(tmp_path) is FileKeys
    (tmp_path / "keys").mkdir()
    assert keys_of(tmp_path) is FileKeys


def test_sealed_keys_are_opened_by_what_was_typed(tmp_path, typing):
    Keystore(tmp_path / "keys", b"five words").close()
    assert is_sealed(tmp_path)
    typing += ["five words", "other words"]
    keys_of(tmp_path)(tmp_path / "keys").close()
    with pytest.raises(WrongPassphraseError):
        keys_of(tmp_path)(tmp_path / "keys")


def _command(seen: list[object]) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)

    def command(data_dir: DataDir = None) -> None:
        del data_dir
        seen.append(current().get())

    app.command()(unlocks(command))
    return app


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_command_gets_the_option(tmp_path, by):
    (tmp_path / "file").write_text("five words\n")
    seen: list[object] = []
    arguments = ["--passphrase-file", str(tmp_path / "file")] if by == "option" else []
    variables = {VARIABLE: str(tmp_path / "file")} if by == "variable" else {}
    done = CliRunner().invoke(_command(seen), arguments, env=variables)
    assert (done.exit_code, seen) == (0, [b"five words"])
    assert unlocking._CURRENT.get() is None  # it ends with the command


def test_a_command_without_a_directory_has_no_such_option():
    def command() -> None: ...

    assert unlocks(command) is command


# --- recovery codes ----------------------------------------------------------------------------------------------


def test_a_new_code_is_given_or_written_into_a_new_file_of_ones_own(tmp_path):
    with kept_code(None) as keep:
        assert keep("ABCD") == {"recovery_code": "ABCD"}
    with kept_code(tmp_path / "code") as keep:
        assert keep("ABCD") == {"recovery_file": str(tmp_path / "code")}
    assert (tmp_path / "code").read_text() == "ABCD\n"
    assert (tmp_path / "code").stat().st_mode & 0o777 == 0o600
    assert typed_code(tmp_path / "code").strip() == "ABCD"


def test_a_file_that_is_there_is_not_replaced_and_an_empty_one_is_not_left(tmp_path):
    (tmp_path / "there").write_text("mine")
    with pytest.raises(FailedError), kept_code(tmp_path / "there"):
        pytest.fail("begun")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(KeyError), kept_code(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    with pytest.raises(FailedError), kept_code(tmp_path / "no" / "folder"):
        pytest.fail("begun")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff"])
def test_a_file_without_a_code(tmp_path, content):
    path: Path = tmp_path / "code"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FailedError) as failed:
        typed_code(path)
    assert failed.value.exit_code in {2, 3}
