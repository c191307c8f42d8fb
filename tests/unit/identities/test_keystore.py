"""The keystore: what is kept is sealed, plain keys are taken over, and no step of it loses any."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest

from identities import keystore, keystore_file
from identities.epoch_keys import epoch_keys
from identities.keyring import Keyring
from identities.keystore import Keystore, as_passphrase, open_keys
from identities.keystore_file import Costs
from tests.suites.secret_scan import in_clear, only_sealed
from walytis_core.errors import (
    ClosedError,
    InUseError,
    InvalidInputError,
    LockedError,
    StorageError,
    WalytisError,
    WrongPassphraseError,
)
from walytis_core.keys import SEALED, FileKeys, Keys, is_sealed

LIGHT = Costs(8, 1, 1)
PASSPHRASE = b"correct horse battery staple"
OTHER = b"another passphrase altogether"


def secret(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


PLAIN = {"node": secret(1), "author-a": secret(2), "secret-a": b"12345678" + secret(3)}


@pytest.fixture(autouse=True)
def nothing_in_clear(tmp_path: Path) -> Iterator[None]:
    """I27: a scan of the whole directory after every test."""
    with only_sealed(tmp_path):
        yield


def opened(directory: Path, passphrase: bytes = PASSPHRASE) -> Keystore:
    return Keystore(directory, passphrase, costs=LIGHT)


def kept(directory: Path, passphrase: bytes = PASSPHRASE) -> dict[str, bytes]:
    with opened(directory, passphrase) as keys:
        return dict(keys._secrets)


def write_plain(directory: Path, secrets: dict[str, bytes] = PLAIN) -> None:
    keys = FileKeys(directory)
    for name, one in secrets.items():
        keys.put(name, one)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_secrets_are_kept(tmp_path: Path) -> None:
    """I27: what was put is there after the next opening, the newest of a name; what was deleted is not."""
    with opened(tmp_path) as keys:
        assert keys.get("node") is None
        keys.put("node", secret(1))
        keys.put("node", secret(2))
        keys.put("other", secret(3))
        keys.put("gone", secret(4))
        keys.delete("gone")
        keys.delete("never")
        assert (keys.get("node"), keys.get("other"), keys.get("gone")) == (secret(2), secret(3), None)
    assert kept(tmp_path) == {"node": secret(2), "other": secret(3)}
    assert names(tmp_path) == {SEALED, "lock"}


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    """I27: owner only, whatever the umask."""
    before = os.umask(0)
    try:
        with opened(tmp_path / "a" / "keys") as keys:
            keys.put("node", secret(1))
    finally:
        os.umask(before)
    folder = tmp_path / "a" / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_wrong_passphrase_changes_nothing(tmp_path: Path) -> None:
    """I27: refused, with a plain hint; the right one opens as before."""
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
    before = (tmp_path / SEALED).read_bytes()
    with pytest.raises(WrongPassphraseError) as caught:
        Keystore(tmp_path, OTHER)
    assert isinstance(caught.value, LockedError)
    assert "again" in caught.value.hint
    for bad in (b"", bytes(1025)):
        with pytest.raises(InvalidInputError):
            Keystore(tmp_path, bad)
    assert (tmp_path / SEALED).read_bytes() == before
    assert kept(tmp_path) == {"node": secret(1)}


def test_a_damaged_file_is_not_replaced(tmp_path: Path) -> None:
    """I27: said, and left as it is for whoever can mend it."""
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
    whole = (tmp_path / SEALED).read_bytes()
    for bad in (
        b"",
        whole[:-1],
        whole[:40] + bytes((whole[40] ^ 1,)) + whole[41:],
        bytes(keystore_file.MAX_FILE_BYTES + 10),
    ):
        (tmp_path / SEALED).write_bytes(bad)
        with pytest.raises(StorageError):
            Keystore(tmp_path, PASSPHRASE)
        assert (tmp_path / SEALED).read_bytes() == bad
    (tmp_path / SEALED).write_bytes(whole)
    assert kept(tmp_path) == {"node": secret(1)}


def test_one_at_a_time(tmp_path: Path) -> None:
    """I28: the second gets a clear error, and the lock ends with the first, or with an opening that failed."""
    with opened(tmp_path) as keys:
        with pytest.raises(InUseError, match="in use") as caught:
            Keystore(tmp_path, PASSPHRASE)
        assert "Close the other process" in caught.value.hint
        keys.put("node", secret(1))
        with pytest.raises(InUseError):
            Keystore(tmp_path, OTHER)
    for _ in range(2):
        with pytest.raises(WrongPassphraseError):
            Keystore(tmp_path, OTHER)
    keys.close()
    assert kept(tmp_path) == {"node": secret(1)}


def test_after_closing(tmp_path: Path) -> None:
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
    calls: list[Callable[[], object]] = [
        lambda: keys.get("node"),
        lambda: keys.put("node", secret(2)),
        lambda: keys.delete("node"),
        lambda: keys.change_passphrase(OTHER),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert kept(tmp_path) == {"node": secret(1)}


def test_another_passphrase(tmp_path: Path) -> None:
    """I27: it alone opens the file from then on, and nothing derived from the old one does."""
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
        before = (tmp_path / SEALED).read_bytes()
        keys.change_passphrase(OTHER)
        keys.put("other", secret(2))
        with pytest.raises(InvalidInputError):
            keys.change_passphrase(b"")
    after = (tmp_path / SEALED).read_bytes()
    assert before[16:32] != after[16:32], "a fresh salt"
    with pytest.raises(WrongPassphraseError):
        Keystore(tmp_path, PASSPHRASE)
    assert kept(tmp_path, OTHER) == {"node": secret(1), "other": secret(2)}


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I27: what was kept is kept, also in memory, and the next change works."""

    def refuse(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", refuse)
            for call in (
                lambda: keys.put("node", secret(2)),
                lambda: keys.put("new", secret(2)),
                lambda: keys.delete("node"),
                lambda: keys.change_passphrase(OTHER),
            ):
                with pytest.raises(StorageError):
                    call()
            assert (keys.get("node"), keys.get("new")) == (secret(1), None)
        keys.put("other", secret(3))
    assert kept(tmp_path) == {"node": secret(1), "other": secret(3)}


def test_a_full_keystore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
        monkeypatch.setattr(keystore_file, "MAX_FILE_BYTES", 1000)
        with pytest.raises(InvalidInputError):
            keys.put("large", bytes(1000))
        assert keys.get("large") is None
    assert kept(tmp_path) == {"node": secret(1)}


def test_nothing_is_derived_after_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I27: Argon2 runs at unlocking alone."""
    with opened(tmp_path) as keys:
        monkeypatch.delattr(keystore_file, "Argon2id")
        keys.put("node", secret(1))
        keys.delete("node")


def test_many_threads(tmp_path: Path) -> None:
    with opened(tmp_path) as keys:
        threads = [Thread(target=keys.put, args=(f"key-{number}", secret(number))) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert kept(tmp_path) == {f"key-{number}": secret(number) for number in range(16)}


def test_no_secret_is_shown(tmp_path: Path) -> None:
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
        assert (repr(keys), repr(keys._key)) == ("Keystore(1 secrets)", "PassphraseKey(...)")


# --- taking over plain keys --------------------------------------------------------------------------------------


def test_plain_keys_are_taken_over(tmp_path: Path) -> None:
    """I27: at the first unlock every plain key, and what a crash left of writing one, is sealed or gone."""
    write_plain(tmp_path)
    (tmp_path / ".node.new").write_bytes(secret(1)[:20])
    (tmp_path / ".hidden").write_bytes(b"of the file manager")
    with opened(tmp_path) as keys:
        assert {name: keys.get(name) for name in PLAIN} == PLAIN
        assert names(tmp_path) == {SEALED, "lock", ".hidden"}
    assert kept(tmp_path) == PLAIN


def test_the_keys_of_many_epochs_are_taken_over(tmp_path: Path) -> None:
    """I27: an identity that renewed for decades has a long key file."""
    ring = Keyring(FileKeys(tmp_path), "identity-x")
    ring.add_epochs(*((n.to_bytes(16, "big"), epoch_keys(n.to_bytes(32, "big"))) for n in range(1000)))
    with opened(tmp_path) as keys:
        again = Keyring.load_as(keys, "identity-x")
        assert again is not None
        assert again.epochs == ring.epochs


def test_a_sealed_folder_opens_no_other_way(tmp_path: Path) -> None:
    """I27: without the passphrase there is a clear error, and no fresh keys beside the sealed ones."""
    write_plain(tmp_path)
    old = FileKeys(tmp_path)
    assert kept(tmp_path) == PLAIN
    before = names(tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: FileKeys(tmp_path),
        lambda: open_keys(tmp_path, None),
        lambda: old.get("node"),
        lambda: old.put("node", secret(9)),
    ]
    for call in calls:
        with pytest.raises(LockedError, match="sealed, and no passphrase"):
            call()
    assert names(tmp_path) == before


def test_a_wrong_passphrase_takes_nothing_over(tmp_path: Path) -> None:
    with opened(tmp_path) as keys:
        keys.put("node", secret(1))
    (tmp_path / ".node.old").write_bytes(bytes(32))
    with pytest.raises(WrongPassphraseError):
        Keystore(tmp_path, OTHER)
    assert ".node.old" in names(tmp_path)


STEPS = ("fsync", "rename", "replace", "unlink", "open")


class Crash(BaseException):
    """The process dies here; nothing of it runs on."""


def crash_at(step: int, patching: pytest.MonkeyPatch) -> None:
    """Has one of the next calls of the system raise, and with it each that a cleaner end would make."""
    left = step

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash
            return call(*arguments, **options)

        return run

    for name in STEPS:
        patching.setattr(os, name, counted(getattr(os, name)))


def test_a_crash_at_any_step_loses_no_key(tmp_path: Path) -> None:
    """I27: either the plain keys are all there and nothing is sealed, or all are sealed; the next unlock finishes."""
    step, places = 0, set()
    while True:
        folder = tmp_path / str(step)
        write_plain(folder)
        (folder / ".node.new").write_bytes(secret(1)[:30])
        with pytest.MonkeyPatch.context() as patching:
            crash_at(step, patching)
            try:
                Keystore(folder, PASSPHRASE, costs=LIGHT).close()
                break
            except Crash:
                pass
        places.add((is_sealed(folder), len(names(folder))))
        if not is_sealed(folder):
            plain = FileKeys(folder)
            assert {name: plain.get(name) for name in PLAIN} == PLAIN
        assert kept(folder) == PLAIN
        assert names(folder) == {SEALED, "lock"}
        step += 1
    assert step > 4 * len(PLAIN), "no step was counted"
    assert len(places) > 4, "they crashed in one place"
    assert kept(folder) == PLAIN


def test_a_crash_at_any_step_of_a_change(tmp_path: Path) -> None:
    """I27: the old content, or the new one."""
    for change, after in (("put", {"a": secret(2)}), ("delete", {})):
        step, is_done = 0, False
        while not is_done:
            folder = tmp_path / f"{change}-{step}"
            with opened(folder) as keys:
                keys.put("a", secret(1))
                with pytest.MonkeyPatch.context() as patching:
                    crash_at(step, patching)
                    try:
                        getattr(keys, change)(*("a", secret(2))[: 2 if change == "put" else 1])
                        is_done = True
                    except Crash:
                        pass
            assert kept(folder) in ([after] if is_done else [after, {"a": secret(1)}])
            step += 1
        assert step > 3


def test_plain_keys_of_a_backup_beside_it(tmp_path: Path) -> None:
    """I27: the same keys once more are removed; another key is a mistake, and is neither taken nor removed."""
    write_plain(tmp_path)
    assert kept(tmp_path) == PLAIN
    (tmp_path / "node").write_bytes(PLAIN["node"])
    assert kept(tmp_path) == PLAIN
    assert "node" not in names(tmp_path)
    for name, content in (("node", b"a key that an attacker knows...."), ("author-new", b"another one"), ("x", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StorageError, match=f"{name} lies beside the keystore"):
            Keystore(tmp_path, PASSPHRASE)
        assert (tmp_path / name).read_bytes() == content
        (tmp_path / name).unlink()
    assert kept(tmp_path) == PLAIN


@pytest.mark.parametrize("kind", ["link", "folder", "long", "odd name"])
def test_what_is_no_key_file_stays(tmp_path: Path, kind: str) -> None:
    """I27: said before anything is sealed or removed."""
    write_plain(folder := tmp_path / "keys", {"node": secret(1)})
    (tmp_path / "elsewhere").write_bytes(b"something of the user's")
    make: dict[str, Callable[[], object]] = {
        "link": lambda: (folder / "strange").symlink_to(tmp_path / "elsewhere"),
        "folder": (folder / "strange").mkdir,
        "long": lambda: (folder / "strange").write_bytes(bytes((4 << 20) + 1)),
        "odd name": lambda: (folder / os.fsdecode(b"strange\xff")).write_bytes(b"x"),
    }
    make[kind]()
    before = names(folder)
    with pytest.raises(StorageError, match="no key file"):
        Keystore(folder, PASSPHRASE, costs=LIGHT)
    assert names(folder) == before | {"lock"}
    assert FileKeys(folder).get("node") == secret(1)
    assert (tmp_path / "elsewhere").read_bytes() == b"something of the user's"


def test_hard_links_are_not_overwritten(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A back-up made of hard links is the user's; it has the same keys."""
    backup = tmp_path_factory.mktemp("backup")
    write_plain(tmp_path)
    (backup / "node").hardlink_to(tmp_path / "node")
    assert kept(tmp_path) == PLAIN
    assert (backup / "node").read_bytes() == PLAIN["node"]


def test_what_is_removed_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain(tmp_path)
    gone: list[bytes] = []
    unlink = Path.unlink

    def spy(path: Path, **options: bool) -> None:
        gone.append(path.read_bytes())
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", spy)
    assert kept(tmp_path) == PLAIN
    assert gone == [bytes(len(PLAIN[name])) for name in sorted(PLAIN)]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        Keystore(tmp_path / "file" / "keys", PASSPHRASE)
    with pytest.raises(StorageError):
        is_sealed(tmp_path / "file" / "keys")


# --- choosing ----------------------------------------------------------------------------------------------------


def test_open_keys_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I27: plain without a passphrase, sealed with one, which a function may give."""
    monkeypatch.setattr(keystore, "Costs", lambda: LIGHT)
    plain: Keys = open_keys(tmp_path, None)
    assert isinstance(plain, FileKeys)
    plain.put("node", secret(1))
    plain.close()
    for passphrase in (PASSPHRASE, lambda: PASSPHRASE):
        with closing(open_keys(tmp_path, passphrase)) as keys:
            assert isinstance(keys, Keystore)
            assert keys.get("node") == secret(1)

    def asked() -> bytes:
        raise WalytisError("nobody is there to be asked")

    with pytest.raises(WalytisError, match="nobody"):
        open_keys(tmp_path, asked)


def test_typed_passphrases() -> None:
    """The same on every keyboard; and what is no text is kept apart."""
    assert as_passphrase("café") == as_passphrase("café") == b"caf\xc3\xa9"
    assert as_passphrase(os.fsdecode(b"a\xff")) == b"a\xff"


def test_the_scan_finds_what_it_seeks(tmp_path: Path) -> None:
    """I27: raw, hex and base64, whole or half, inside of other things."""
    for number, form in enumerate((
        secret(7), secret(7)[:16], secret(7)[16:], secret(7).hex().encode(), secret(7).hex().upper().encode(),
        base64.b64encode(b"ab" + secret(7) + b"c"), base64.urlsafe_b64encode(b"a" + secret(7)),
        base64.b64encode(secret(7)).rstrip(b"="),
    )):  # fmt: skip
        (tmp_path / f"{number}").write_bytes(b"before" + form + b"after")
    (tmp_path / "none").write_bytes(secret(8) + secret(7)[:11])
    assert sorted(in_clear(tmp_path, [secret(9), secret(7)])) == [f"{number}: 1" for number in range(8)]
