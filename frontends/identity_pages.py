"""How identities look in a terminal: a table of seats, what a removal would do, a recovery code, a contact card.

Invariants: as in `render.py`; a recovery code is never in a QR code, since what is scanned is on a device.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from frontends.console import Hint
from frontends.finding import SHORT
from frontends.forms import Form
from frontends.plain import plain_text
from frontends.render import damaged_lines, fields_table, many, qr_code, time_text

_TO_MINUTES: Final = 16  # letters of a time
_GROUPS: Final = 7  # of a recovery code in a line
_STATES: Final = {"live": "green", "pending": "yellow"}
_KEYS: Final = {
    "current": ("yes", "green"),
    "unheard": ("not heard of yet", "yellow"),
    "unopened": ("could not open them", "red"),
}
_SAID: Final = {
    "added": "gave a seat to", "removed": "removed", "cut": "cut acts on other chains", "left": "gave its seat up",
    "rekeyed": "renewed its own keys", "joined": "said its first word", "renewed": "made epoch", "unopened": "could not open the keys",
    "recovered": "used the recovery code", "confirmed": "said that it has the keys", "noted": "left a note for the other devices", "granted": "handed earlier keys to",
    "opened": "opened a chain of the identity", "anchored": "anchored a member", "asked": "asked for a seat",
}  # fmt: skip


def identities_page(found: Sequence[Form], damaged: Sequence[Form] = ()) -> RenderableType:
    """The identities of a directory, and those that cannot be read."""
    return Group(
        *([] if damaged and not found else [_identities_table(found)]), *damaged_lines(damaged, "walytis id delete")
    )


def _identities_table(found: Sequence[Form]) -> RenderableType:
    if not found:
        return Hint("No identities yet: `walytis id create NAME` makes one, `walytis id join CODE` joins one.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("identity", overflow="fold", min_width=12)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("DID")
    for one in found:
        did = Text(one["did"], overflow="ellipsis", no_wrap=True)
        table.add_row(Text(plain_text(one["name"])), _epoch(one), _here(one), did)
    return table


def _epoch(one: Form) -> str:
    return "-" if one["epoch"] is None else str(one["epoch"])


def _here(one: Form) -> Text:
    if not one["own"]:
        return Text("another's", "dim")
    if not one["seated"]:
        return Text("no seat", "yellow")
    return Text("yours", "green") if one["has_keys"] else Text("lacks keys", "yellow")


def identity_page(one: Form) -> RenderableType:
    """An identity with its seats."""
    rows: list[tuple[str, RenderableType]] = [("epoch", _epoch_words(one))]
    rows.append(("readable by", "everyone" if one["public"] else "its members"))
    rows += [("chains", ", ".join(map(plain_text, one["chains"])))] * bool(one["chains"])
    rows += [("void", f"{many(one['void'], 'event')} of {one['events']} that count for nothing")] * bool(one["void"])
    head = Text.assemble((plain_text(one["name"]), "bold underline"), "\n", one["did"], overflow="fold")
    return Group(head, Text(), fields_table(rows), Text(), seats_table(one["seats"]), *_members(one["seats"]))


def _members(seats: Sequence[Form]) -> list[RenderableType]:
    """The DIDs of the identities that are members, whole: to be copied."""
    members = [seat for seat in seats if seat["kind"] == "identity" and seat["state"] in _STATES]
    named = [Hint(f"{plain_text(seat['name'])} {seat['holder']}".strip()) for seat in members]
    return [Text(), Text("members", "bold"), *named] if named else []


def chains_page(found: Form) -> RenderableType:
    """The chains that the members of an identity read."""
    name = plain_text(found["name"])
    if not found["chains"]:
        return Hint(f"No chains of {name} yet: `walytis id create-chain {shlex.quote(name)} NAME` makes one.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("chain", overflow="fold", min_width=12)
    table.add_column("blocks", justify="right", no_wrap=True)
    table.add_column("id")
    for chain in found["chains"]:
        id = Text(chain["id"], overflow="ellipsis", no_wrap=True)
        shown = Text(plain_text(chain["name"])) if chain["held"] else Text("not here yet", "yellow")
        table.add_row(shown, str(chain["blocks"]) if chain["held"] else "-", id)
    return table


def _epoch_words(one: Form) -> str:
    if one["epoch"] is None:
        return "none is usable until one of its devices renews"
    if not one["own"]:
        return str(one["epoch"])
    if not one["seated"]:
        return f"{one['epoch']}; this device has no seat in it"
    return f"{one['epoch']}; this device {'has' if one['has_keys'] else 'does not have'} its keys"


def seats_table(seats: Sequence[Form]) -> Table:
    """Seats by rank: each may remove those below it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("seat", no_wrap=True)
    table.add_column("who", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("current keys", no_wrap=True)
    for seat in seats:
        words, style = _KEYS.get(seat["keys"], ("", ""))
        state = Text(seat["state"], _STATES.get(seat["state"], "dim"))
        table.add_row(Text(seat["seat"][-SHORT:], "bold"), _who(seat), state, Text(words, style))
    return table


def _who(seat: Form) -> Text:
    kinds = {"recovery": "recovery code", "council": f"council, {seat['holder']} keys"}
    who = Text(plain_text(seat["name"]) or kinds.get(seat["kind"]) or f"{seat['kind']} {seat['holder'][-SHORT:]}")
    return who.append(" (this device)", "bold cyan") if seat["here"] else who


def status_page(found: Form) -> RenderableType:
    """How the identities do that this node acts for."""
    if not found["identities"]:
        return Hint(
            "No identities of yours here: `walytis id create NAME` makes one, `walytis id join CODE` joins one."
        )
    parts: list[RenderableType] = []
    for one in found["identities"]:
        rows: list[tuple[str, RenderableType]] = [("epoch", _epoch_words(one))]
        rows += [("devices", f"{many(one['peers'], 'peer')} online")] * found["running"]
        for key, words in _LACKS.items():
            rows += [(words, ", ".join(id[-SHORT:] for id in one[key]))] * bool(one[key])
        rows += [("void", many(one["void"], "event"))] * bool(one["void"])
        parts += [Text(plain_text(one["name"]), "bold underline"), fields_table(rows), Text()]
    if found["failure"] is not None:
        parts.append(Text(f"Not done, and tried again: {plain_text(found['failure'])}", "yellow"))
    if not found["running"]:
        parts.append(Hint("`walytis run` keeps it online: it renews keys, and lets devices in.", "dim"))
    return Group(*parts)


_LACKS: Final = {"pending": "never heard", "behind": "not heard since", "unopened": "cannot open it"}


# --- recovery ----------------------------------------------------------------------------------------------------


def code_panel(code: str) -> RenderableType:
    """A recovery code, to be copied by hand."""
    groups = code.split("-")
    rows = ["-".join(groups[at : at + _GROUPS]) for at in range(0, len(groups), _GROUPS)]
    text = Text("-\n".join(rows), "bold")
    about = (
        "Write it on paper, and keep that away from your devices: it is not shown again. Whoever has it can take the "
    )
    about += "identity over; without it, nobody can when your devices are lost or stolen."
    return Group(Panel.fit(text, title="recovery code", border_style="yellow", padding=(1, 3)), Text(about, "yellow"))


def created_page(one: Form, code: str | None, file: str = "") -> RenderableType:
    """An identity that was made; its recovery code, or the file that holds it."""
    name = plain_text(one["name"])
    head = Text.assemble("Made the identity ", (name, "bold"), f": {one['did']}", overflow="fold")
    quoted = shlex.quote(name)
    if any(seat["kind"] == "identity" for seat in one["seats"]):
        next_one = Hint(f"`walytis id add-member {quoted} CARD` makes somebody else a member.", "dim")
    else:
        next_one = Hint(f"`walytis id add-device {quoted}` lets another device of yours in.", "dim")
    kept = [Hint(f"Its recovery code is in {plain_text(file)}: print it, and keep no copy on a device.", "yellow")]
    return Group(head, *(kept * bool(file) if code is None else [Text(), code_panel(code), Text()]), next_one)


# --- devices -----------------------------------------------------------------------------------------------------


def device_code_page(console: Console, made: Form, *, with_code: bool) -> None:
    """A code for another device: the text, what to do with it and, last, the code to scan where it fits."""
    until = time_text(made["expires"])[:_TO_MINUTES]
    name = plain_text(made["name"])
    console.print(f"A code for one more device of {name}, until {until}. Type on that device:", markup=False)
    console.print(
        f"walytis id join {made['invitation']} --device-name NAME", soft_wrap=True, style="bold", markup=False
    )
    console.print(f"Whoever uses it acts as {name} from then on: show it to nobody else.", style="yellow", markup=False)
    _print_code(console, made["qr_text"], with_code=with_code)


def contact_page(console: Console, made: Form, *, with_code: bool) -> None:
    """A contact card to hand on."""
    name = plain_text(made["name"])
    console.print(f"A contact card of {name}. It is public: whoever has it can find and check {name}.", markup=False)
    console.print(made["contact"], markup=False, soft_wrap=True, style="bold")
    console.print(Hint("Others: `walytis id resolve CARD`; members of a group: `walytis id enter CARD --via NAME`."))
    _print_code(console, made["qr_text"], with_code=with_code)


def _print_code(console: Console, text: str, *, with_code: bool) -> None:
    code = qr_code(text) if with_code else []
    if code and len(code[0]) <= console.width:
        for line in code:
            console.print(Text(line, "black on bright_white"))


# --- deleting ----------------------------------------------------------------------------------------------------


def deletion_page(one: Form) -> RenderableType:
    """What is lost when an identity is deleted on this node."""
    name = plain_text(one["name"])
    lines = [Hint(f"Deletes {name} from this directory, not from others: {one['did']}")]
    if not one["own"]:
        return Group(*lines, Hint("It is another's: `walytis id resolve CARD` gets it again."))
    lost = "Its keys go: what was sealed to it can be opened by this device no more, and nothing brings them back."
    lines.append(Hint(lost, "red"))
    if one["chains"]:
        chains = ", ".join(map(plain_text, one["chains"]))
        lines.append(Hint(f"The chains of its members stay, to be read: {chains}. `walytis delete` deletes them."))
    if one["seated"]:
        lines.append(
            Hint(
                "Its seat stays until another device removes it. To give it up first: "
                f"`walytis id leave {shlex.quote(name)}`."
            )
        )
        others = [
            seat for seat in one["seats"] if seat["state"] == "live" and not seat["here"] and seat["kind"] != "recovery"
        ]
        last = "No other device has a seat in it: without its recovery code it is lost for ever."
        lines += [Hint(last, "red")] * (not others)
    return Group(*lines)


# --- removing ----------------------------------------------------------------------------------------------------


def preview_page(found: Form) -> RenderableType:
    """What a removal would do."""
    removed = _list(found["removes"]) or "nobody"
    parts: list[RenderableType] = [Text(f"Removes {removed} from {plain_text(found['name'])}.")]
    seats = {seat["seat"]: seat for key in ("live", "ends", "removes") for seat in found[key]}
    parts += _acts("Counts no more", found["takes_away"], seats, "red")
    parts += _acts("Counts again", found["brings_back"], seats, "green")
    also = [seat for seat in found["ends"] if seat not in found["removes"]]
    parts += [Text(f"Ends as well: {_list(also)}", "red")] * bool(also)
    left = _list(found["live"]) + (", and this device by a new seat" if found.get("recovery") else "")
    return Group(*parts, Text(f"Left: {left}"))


def _acts(title: str, acts: Sequence[Form], seats: dict[str, Form], style: str) -> list[RenderableType]:
    if not acts:
        return []
    table = Table.grid(padding=(0, 2))
    for act in acts:
        who = "somebody" if act["seat"] is None else _named(seats.get(act["seat"], {"seat": act["seat"]}))
        about = ", ".join(_named(seats.get(seat, {"seat": seat})) for seat in act["seats"])
        detail = "" if act["detail"] is None else str(act["detail"])
        said = " ".join(filter(None, (who, _SAID.get(act["kind"], act["kind"]), about, detail)))
        table.add_row(Text(f"  {act['id'][-SHORT:]}", "bold"), Text(time_text(act["time"])[5:], "dim"), Text(said))
    return [Text(f"{title}:", style), table]


def _list(seats: Sequence[Form]) -> str:
    return ", ".join(map(_named, seats))


def _named(seat: Form) -> str:
    label = seat["seat"][-SHORT:]
    if seat["seat"] == "0":
        return "the recovery code"
    return f"{_who(seat).plain} [{label}]" if seat.get("kind") else f"seat {label}"
