"""One person on several devices: a notebook that just these devices read, until one of them is removed.

    python examples/shared_identity.py ./laptop                makes an identity, and prints its recovery code and an invitation
    python examples/shared_identity.py ./phone walytis:...     becomes a device of it
    python examples/shared_identity.py ./phone                 goes on where it stopped, with what came meanwhile

What you type is a note. `devices` lists the devices by number, `remove 2` takes one away, `renew` makes new keys; end with Ctrl-D.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from identities import Identities, Identity
from walytis_core import Arrived, Chain, Node, WalytisError
from walytis_core.feed import FeedEvent


def enter(identities: Identities, name: str, invitation: str | None) -> Identity:
    if invitation is not None:
        return identities.join(invitation, name="me", device_name=name).result(timeout=60)
    if identities.all():
        return identities.get("me")
    me, code = identities.create("me")
    print(f"write this down, and keep it away from your devices: {code}", flush=True)
    me.create_chain("notebook")
    return me


def notebook(me: Identity) -> Chain:
    while not me.chains():  # it comes by itself, once this device is a member
        time.sleep(0.1)
    return me.chains()[0]


def obey(me: Identity, notes: Chain, line: str) -> None:
    verb, _, number = line.partition(" ")
    devices = [seat for seat in me.seats() if seat.kind == "device"]
    if line == "devices":
        for at, seat in enumerate(devices, 1):
            print(at, seat.name or "the first one", seat.state, flush=True)
    elif verb == "remove" and number.isdigit() and 0 < int(number) <= len(devices):
        me.remove([devices[int(number) - 1].id])
    elif line == "renew":
        print(f"these are the keys of epoch {me.renew().number}", flush=True)
    elif line:
        notes.append(line.encode())


def main(directory: str, invitation: str | None = None) -> None:
    with Node.open(directory) as node, Identities(node) as identities:
        me = enter(identities, Path(directory).name, invitation)
        if me.seat is not None:
            print(f"invite another device: {me.invite()}", flush=True)
        notes = notebook(me)

        def show(event: FeedEvent) -> None:
            if isinstance(event, Arrived):
                print(f"note: {event.block.payload.decode('utf-8', 'replace')}", flush=True)

        notes.follow(show, name="screen")
        for line in sys.stdin:
            try:
                obey(me, notes, line.strip())
            except WalytisError as error:
                print(error, flush=True)


if __name__ == "__main__":
    try:
        if len(sys.argv) not in {2, 3}:
            sys.exit("Usage: shared_identity.py DIRECTORY [INVITATION]")
        main(*sys.argv[1:])
    except WalytisError as error:
        sys.exit(f"{error}\n{error.hint}")
