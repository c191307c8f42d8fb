"""`walytis id` and `walytis keys`, as real commands: two directories, two processes, over libp2p on loopback."""

from __future__ import annotations

import base64
import json
import subprocess
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.suites.command import COMMAND, WAIT_S, answer, environment, failure, lines, running, started, walytis

pytestmark = [pytest.mark.slow, pytest.mark.libp2p, pytest.mark.timeout(400)]

SECRET_WORDS = ("recovery_code",)


@pytest.fixture
def laptop(tmp_path):
    return tmp_path / "laptop"


@pytest.fixture
def phone(tmp_path):
    return tmp_path / "phone"


def steps(directory, *arguments: str) -> list[Any]:
    """What a command that waits tells."""
    return lines(directory, *arguments, "--timeout", "50")


def let_in(senior: Path, junior: Path) -> Any:
    """A second device by its code: two processes, or one where the node of the first runs already."""
    with started(senior, "id", "add-device", "alice", "--json", "--timeout", "50") as waiting:
        assert waiting.stdout is not None
        made = json.loads(waiting.stdout.readline())
        joined = steps(junior, "id", "join", made["invitation"], "--device-name", "phone")[-1]
        told, errors = waiting.communicate(timeout=WAIT_S)
        assert waiting.returncode == 0, errors.decode()
        assert json.loads(told.splitlines()[-1])["event"] == "added"
    return joined


def seats(directory: Path) -> list[Any]:
    return list(answer(directory, "id", "show", "alice")["seats"])


@contextmanager
def until_online(directory: Path, *others: Path):
    """Each node keeps running, so that they meet."""
    if not others:
        with running(directory):
            yield
        return
    with running(directory), until_online(*others):
        yield


def until_seen(directory: Path, condition: Any) -> Any:
    """Waits, within the bound of the commands, for what the other node sends."""
    found: Any = None
    for _ in range(int(WAIT_S)):
        found = answer(directory, "id", "show", "alice")
        if condition(found):
            return found
    raise AssertionError(found)


def test_the_whole_story_of_two_directories(laptop, phone, tmp_path):
    """I16, I17, I20, I32: created, joined, signed, renewed, and taken back after the first device was lost."""
    made = answer(laptop, "id", "create", "alice", "--code-out", str(tmp_path / "code"))
    assert "recovery_code" not in made
    code = (tmp_path / "code").read_text()
    assert code.strip() not in walytis(laptop, "id", "show", "alice").stdout.decode()
    joined = let_in(laptop, phone)
    assert (joined["seated"], joined["has_keys"], joined["epoch"]) == (True, True, 1)

    signed = walytis(phone, "id", "sign", "alice", "hello").stdout
    (tmp_path / "signature").write_bytes(signed)
    found = answer(laptop, "id", "verify", "alice", "-s", str(tmp_path / "signature"), "hello")
    assert (found["did"], found["current"]) == (made["did"], True)
    wrong = failure(laptop, "id", "verify", "alice", "-s", str(tmp_path / "signature"), "hullo")
    assert (wrong["error"], wrong["exit_code"]) == ("RemoteError", 7)

    sealed = walytis(laptop, "id", "seal", "alice", "--raw", stdin=bytes(200_000)).stdout
    assert walytis(phone, "id", "open", "alice", stdin=sealed).stdout == bytes(200_000)
    assert answer(phone, "id", "open", "alice", stdin=base64.b64encode(sealed))["size"] == 200_000

    document = json.loads(walytis(phone, "id", "document", "alice").stdout)
    assert document["id"] == made["did"]
    assert document["authentication"] == [f"{made['did']}#sign-1"]

    with until_online(laptop, phone):
        assert answer(laptop, "id", "renew", "alice")["epoch"] == 2
        until_seen(phone, lambda form: form["epoch"] == 2 and form["has_keys"])
        assert answer(phone, "id", "status")["identities"][0]["peers"] == 1
        card = walytis(laptop, "id", "contact", "alice").stdout.decode().strip()

    with running(phone):  # the laptop is stolen: the phone takes the identity back
        last = ("--code-file", str(tmp_path / "code"), "--remove", "1", "--yes", "--last-copy")
        told = lines(phone, "id", "recover", "alice", *last, "--code-out", str(tmp_path / "next"))
        assert [step["event"] for step in told] == ["recovered", "done"]
        assert "recovery_code" not in str(told)
        assert (tmp_path / "next").read_text() != code
        assert [seat["state"] for seat in seats(phone)[:2]] == ["live", "removed"]
        used = failure(phone, "id", "recover", "alice", "--code-file", str(tmp_path / "code"), "--last-copy")
        assert used["exit_code"] == 3
        assert answer(phone, "id", "sign", "alice", "still")["epoch"] == 3
        with running(laptop):
            gone = until_seen(laptop, lambda form: not form["seated"])
            assert gone["has_keys"] is False
            assert failure(laptop, "id", "sign", "alice", "x")["error"] == "NotAllowedError"
    assert card.startswith("walytis-id:")


def test_a_device_is_removed_and_what_it_did_undone(laptop, phone):
    """I20, I32: what that changes is told first, and nothing is done that was not agreed to."""
    answer(laptop, "id", "create", "alice")
    let_in(laptop, phone)
    told = failure(laptop, "id", "remove", "alice", "phone")
    assert (told["error"], told["exit_code"]) == ("UsageError", 2)
    shown = answer(laptop, "id", "preview", "alice", "phone", "--undo-since", "2000-01-01")
    assert [act["kind"] for act in shown["takes_away"]][:1] == ["joined"]
    assert shown["removes"][0]["name"] == "phone"
    assert [seat["state"] for seat in seats(laptop)] == ["live"] * 3
    done = answer(laptop, "id", "remove", "alice", "phone", "--undo-since", "2000-01-01", "--yes")
    assert done["void"] >= 1
    assert [seat["state"] for seat in done["seats"]] == ["live", "live", "removed"]
    assert (done["has_keys"], done["epoch"]) == (True, 2)


def test_both_ways_give_the_same_output(laptop):
    """C51: to the byte, and to the exit code."""
    answer(laptop, "id", "create", "alice")
    answer(laptop, "create", "notes")
    answer(laptop, "id", "create-chain", "alice", "diary")
    commands = [
        ["list"], ["list", "--json"], ["show", "alice"], ["show", "alice", "--json"], ["show", "notes"], ["document", "alice"],
        ["preview", "alice", "1", "--json"], ["verify", "alice", "-s", "/nowhere", "x"], ["grant", "alice", "9", "--json"],
        ["contact", "alice", "--no-addresses", "--json"], ["open", "alice", "nothing"], ["sign", "bob", "x", "--json"],
        ["remove", "alice", "1", "--cut", "a", "--undo-since", "1h", "--yes"], ["join", "walytis:nonsense", "--json"],
        ["resolve", "did:walytis:abc"], ["recover", "alice", "--undo-since", "1h", "--json"], ["renew", "alice", "--suite", "rsa"],
        ["chains", "alice"], ["create-chain", "bob", "x", "--json"], ["add-member", "alice", "alice"], ["enter", "bob", "--via", "alice"],
        ["add-member", "alice", "walytis-id:nonsense", "--json"], ["delete", "alice", "--json"],
    ]  # fmt: skip

    def outputs() -> list[tuple[int, bytes, bytes]]:
        done = [walytis(laptop, "id", *command) for command in commands]
        served = b'"served": true', b'"served": false'
        return [(one.returncode, one.stdout.replace(*served), one.stderr) for one in done]

    alone = outputs()
    assert b"Traceback" not in b"".join(err for _, _, err in alone)
    with running(laptop):
        assert outputs() == alone


def test_a_group_of_two_has_a_chain_that_says_who_wrote(laptop, phone):
    """I21, I22, C51: made and entered through running nodes; written through them, and with no node running."""
    answer(laptop, "id", "create", "alice")
    answer(phone, "id", "create", "bob")
    answer(laptop, "id", "create", "club", "--of", "alice")
    with until_online(laptop, phone):
        card = answer(phone, "id", "contact", "bob")["contact"]
        added = steps(laptop, "id", "add-member", "club", card)[-1]
        assert (added["event"], added["member"]) == ("added", "bob")
        entered = steps(phone, "id", "enter", answer(laptop, "id", "contact", "club")["contact"], "--via", "bob")[-1]
        assert (entered["event"], entered["seated"], entered["has_keys"]) == ("entered", True, True)
        answer(laptop, "id", "create-chain", "club", "talk")
        answer(laptop, "append", "talk", "hello")
        chain: Any = {"blocks": 0}
        for _ in range(int(WAIT_S)):
            if chain["blocks"]:
                break
            (chain,) = answer(phone, "id", "chains", "club")["chains"] or [chain]
        answer(phone, "append", chain["id"], "thanks", "--wait", str(WAIT_S))
        through = [block["writer"]["name"] for block in lines(laptop, "log", "talk")]
        assert through == ["bob", "alice"]
        followed = lines(laptop, "follow", "talk", "--name", "inbox", "--limit", "2")
        assert [block["writer"]["name"] for block in followed] == ["alice", "bob"]
    assert [block["writer"]["name"] for block in lines(laptop, "log", "talk")] == through
    for directory in (laptop, phone):  # with the keys of devices, though no node runs
        answer(directory, "append", chain["id"], "again")
    shown = walytis(laptop, "log", "talk").stdout.decode().splitlines()
    assert [line.split()[1] for line in shown] == ["alice", "bob", "alice"]
    removed = answer(laptop, "id", "remove", "club", "bob", "--yes")
    assert [seat["state"] for seat in removed["seats"]] == ["live", "live", "removed"]


@pytest.mark.parametrize("is_running", [False, True])
def test_an_identity_is_deleted_with_its_keys(laptop, is_running):
    """I16, C51: after a question; `walytis delete`, which would leave the keys, names the command."""
    answer(laptop, "id", "create", "alice")
    answer(laptop, "id", "create", "club", "--of", "alice")
    with running(laptop) if is_running else nullcontext():
        told = failure(laptop, "delete", "alice", "--yes")
        assert (told["exit_code"], "`walytis id delete alice" in told["hint"]) == (3, True)
        for agreed in ((), ("--yes",)):  # the club needs it, and that is said before anything is asked
            assert failure(laptop, "id", "delete", "alice", *agreed)["error"] == "NotAllowedError"
        assert failure(laptop, "id", "delete", "club")["exit_code"] == 2
        assert answer(laptop, "id", "delete", "club", "--yes")["deleted"]["name"] == "club"
        assert walytis(laptop, "id", "delete", "alice", "--yes").stdout == b"Deleted alice.\n"
        assert answer(laptop, "id", "list")["identities"] == []
        assert answer(laptop, "list")["chains"] == []
    assert not [path.name for path in (laptop / "keys").iterdir() if "identity" in path.name]


def test_a_code_is_taken_back_when_the_command_ends(laptop):
    """I18: with the daemon, too, which would honour it."""
    answer(laptop, "id", "create", "alice")
    with running(laptop):
        with started(laptop, "id", "add-device", "alice", "--json") as waiting:
            assert waiting.stdout is not None
            assert json.loads(waiting.stdout.readline())["event"] == "invited"
            waiting.terminate()
            waiting.wait(WAIT_S)
        record = {"revoked": False}
        for _ in range(int(WAIT_S)):
            (record,) = answer(laptop, "invitations", "alice")["invitations"]
            if record["revoked"]:
                break
        assert record["revoked"]


def test_what_goes_to_no_terminal_is_the_code_alone(laptop):
    answer(laptop, "id", "create", "alice")
    with running(laptop):
        done = walytis(laptop, "id", "add-device", "alice", "--no-wait")
    assert done.returncode == 0
    assert done.stdout.startswith(b"walytis:")
    assert done.stdout.count(b"\n") == 1


def test_a_recovery_code_comes_from_a_file_or_standard_input(laptop):
    """C47: never from an argument."""
    code = answer(laptop, "id", "create", "alice")["recovery_code"]
    assert failure(laptop, "id", "recover", "alice", "--last-copy")["error"] == "LockedError"
    done = walytis(laptop, "id", "recover", "alice", "--last-copy", "--code-file", "-", stdin=code.lower().encode())
    assert done.returncode == 0, done.stderr.decode()
    assert b"recovery code" in done.stdout
    assert code.encode() not in done.stdout


def test_a_recovery_code_that_was_not_shown_is_shown_again(laptop, tmp_path):
    """I16, I32: a command that could not write it down loses nothing; one that was shown is kept here no more."""
    shown = answer(laptop, "id", "create", "alice")["recovery_code"]
    assert failure(laptop, "id", "code", "alice")["error"] == "NotFoundError"
    for is_running in (False, True):
        with running(laptop) if is_running else nullcontext(), Path("/dev/full").open("wb") as full:
            command = [*COMMAND, "id", "create", f"bob-{is_running}", "--json", "--data-dir", str(laptop)]
            lost = subprocess.run(command, env=environment(tmp_path), stdout=full, timeout=WAIT_S, check=False)
            assert lost.returncode != 0
            walytis(laptop, "id", "code", f"bob-{is_running}", "--code-out", str(tmp_path / f"code-{is_running}"))
        found = (tmp_path / f"code-{is_running}").read_text().strip()
        assert len(found) == len(shown)
        assert failure(laptop, "id", "code", f"bob-{is_running}")["error"] == "NotFoundError"
        last = ("--last-copy", "--code-file", str(tmp_path / f"code-{is_running}"))
        assert lines(laptop, "id", "recover", f"bob-{is_running}", *last)[0]["recovery_code"] != found


# --- sealed keys -------------------------------------------------------------------------------------------------


def secret_files(directory: Path) -> set[str]:
    return {path.name for path in (directory / "keys").iterdir()} - {"lock"}


def test_keys_are_sealed_and_opened_by_a_file(laptop, tmp_path):
    """I27: and by nothing else; a running node needs it at its start alone."""
    (tmp_path / "pass").write_text("five words\n")
    (tmp_path / "wrong").write_text("other words\n")
    with_file: dict[str, Any] = {"WALYTIS_PASSPHRASE_FILE": str(tmp_path / "pass")}
    answer(laptop, "id", "create", "alice")
    assert answer(laptop, "keys", "status")["keys"] == "plain"
    with running(laptop):
        told = failure(laptop, "keys", "seal", "--passphrase-file", str(tmp_path / "pass"))
        assert (told["error"], told["exit_code"]) == ("InUseError", 3)
    assert answer(laptop, "keys", "seal", **with_file)["keys"] == "sealed"
    assert secret_files(laptop) == {"keystore"}
    assert answer(laptop, "keys", "status")["keys"] == "sealed"  # which needs none
    told = failure(laptop, "id", "list")
    assert (told["error"], told["exit_code"]) == ("LockedError", 3)
    assert "--passphrase-file" in told["hint"]
    told = failure(laptop, "id", "list", "--passphrase-file", str(tmp_path / "wrong"))
    assert (told["error"], told["exit_code"]) == ("WrongPassphraseError", 3)
    assert answer(laptop, "id", "sign", "alice", "x", **with_file)["epoch"] == 0
    with running(laptop, "--passphrase-file", str(tmp_path / "pass")):
        assert answer(laptop, "id", "sign", "alice", "x")["epoch"] == 0
    assert failure(laptop, "keys", "seal", "--passphrase-file", str(tmp_path / "pass"))["exit_code"] == 2


def test_sealed_keys_get_another_passphrase(laptop, tmp_path):
    """I27; also where no key was ever plain."""
    (tmp_path / "old").write_text("five words\n")
    (tmp_path / "new").write_text("other words\n")
    old, new = ("--passphrase-file", str(tmp_path / "old")), ("--passphrase-file", str(tmp_path / "new"))
    answer(laptop, "keys", "seal", *old)
    assert secret_files(laptop) == {"keystore"}
    answer(laptop, "id", "create", "alice", *old)
    assert secret_files(laptop) == {"keystore"}
    answer(laptop, "keys", "passphrase", *old, "--new-passphrase-file", str(tmp_path / "new"))
    assert failure(laptop, "id", "list", *old)["error"] == "WrongPassphraseError"
    assert [one["name"] for one in answer(laptop, "id", "list", *new)["identities"]] == ["alice"]
    assert (
        failure(laptop, "keys", "passphrase", *old, *["--new-passphrase-file", str(tmp_path / "new")])["exit_code"] == 3
    )


def test_the_doctor_says_whether_the_keys_open(laptop, tmp_path):
    """I27."""
    (tmp_path / "pass").write_text("five words\n")
    (tmp_path / "wrong").write_text("other words\n")

    def keys_finding(*arguments: str) -> tuple[str, str]:
        findings = json.loads(walytis(laptop, "doctor", "--json", *arguments).stdout)["findings"]
        (found,) = [one for one in findings if one["check"] == "keys"]
        return found["level"], found["found"]

    assert keys_finding() == ("ok", "none yet")
    answer(laptop, "create", "notes")
    assert keys_finding()[1].startswith("plain files")
    answer(laptop, "keys", "seal", "--passphrase-file", str(tmp_path / "pass"))
    assert keys_finding()[0] == "warn"
    assert keys_finding("--passphrase-file", str(tmp_path / "wrong"))[0] == "bad"
    assert keys_finding("--passphrase-file", str(tmp_path / "pass")) == ("ok", "sealed, and the passphrase opens them")


def test_a_passphrase_is_in_no_argument(laptop):
    done = subprocess.run(
        [*COMMAND, "id", "list", "--passphrase", "x", "--data-dir", str(laptop)],
        env=environment(laptop.parent), capture_output=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
