"""Factory resets: nothing of the owner stays, also when the plug is pulled meanwhile."""

import re
import secrets
import time
from dataclasses import dataclass

import pytest

import book as accounts
import machine as emulated
from conftest import CARD

RESET_CUTS = 4
# How the console shows that the unit begins.
BEGUN = "Starting .*fieldgate-factory"
# Bytes that are written over because of their name, so that a reset takes some seconds.
MUCH = "dd if=/dev/urandom of=/data/fieldgate/state/much.key bs=1M count=64 2>/dev/null; sync"


@dataclass
class Traces:
    """What somebody leaves behind who has used a machine."""

    token: str
    identity: str
    root: str
    key: str


def leave_traces(machine, book):
    """A retained message, a line of the journal, an identity and a key. That all of them are found is shown first."""
    token = secrets.token_hex(16)
    made = accounts.connected(machine, book.root)
    try:
        made.publish(f"traces/{token}", token, 1, retain=True).wait_for_publish(60)
    finally:
        accounts.close(made)
    machine.shell(f"echo {token} | systemd-cat -t traces; journalctl --sync; sync")
    found = machine.shell(f"grep -rl {token} /data")
    assert "gateway.db" in found and "/journal/" in found, found
    key = machine.shell("grep -rhA1 'PRIVATE KEY-----' /data/fieldgate/state | grep -v -e '---' | head -n 1")
    assert re.fullmatch("[0-9A-Za-z+/=]{40,}", key), key
    root = book.root.read_text().splitlines()[1]
    return Traces(token, machine.shell("cat /etc/machine-id"), root, key)


def is_reset(machine, traces, remembered=()):
    """It is as on its first start, and what was there is nowhere. Switches it off."""
    machine.until("systemctl is-active --quiet multi-user.target && [ -e /data/fieldgate/.provisioned ]")
    assert machine.shell("ls -1A /data").split() == [*remembered, "fieldgate", "lost+found", "rauc"]
    for what in (traces.token, traces.key, traces.root, traces.identity):
        code, found = machine.shell(f"grep -rlF -e '{what}' /data", check=False)
        assert (code, found) == (1, ""), f"{what} is in {found}"
    assert machine.shell("cat /etc/machine-id") != traces.identity
    assert "press-1" not in machine.shell("fieldgate user list 2>&1", check=False)[1]
    machine.cut()
    # Keys are written over, so not even what is left beside the files has them. Of messages and logs old blocks may stay, such as
    # those of a write-ahead log that was cut short before.
    assert not machine.holds("data", traces.key.encode()), "the private key is still on the medium"
    assert "fieldgate/gateway.toml" not in machine.boot_files()
    assert machine.boot_is_clean()


def machine_with_traces(machine, more="true"):
    machine.put_on_boot(CARD)
    machine.start()
    machine.await_serving()
    book = accounts.Book(machine)
    book.write_for(3)
    traces = leave_traces(machine, book)
    machine.shell(more)
    machine.cut()
    assert machine.holds("data", traces.key.encode())
    return traces


@pytest.mark.long
@pytest.mark.minutes(5)
@pytest.mark.parametrize("way", ["file", "argument"])
def test_factory_reset(device, way):
    machine = device(f"reset-{way}", debug=True)
    traces = machine_with_traces(machine)
    if way == "file":
        machine.put_on_boot({"fieldgate/factory-reset": ""})
    else:
        machine.set_counters(boot_args="fieldgate.factory-reset")
    machine.start()
    machine.await_console(emulated.SLOT, times=2)
    machine.until("systemctl is-active --quiet multi-user.target")
    # Once for each cause.
    time.sleep(5)
    assert len(machine.slots()) == 2
    # An argument stays, and must not do it again.
    is_reset(machine, traces, ["factory-reset.done"] if way == "argument" else [])


@pytest.mark.long
@pytest.mark.minutes(RESET_CUTS * 4)
def test_reset_that_is_cut_is_completed(device, chance):
    machine = device("reset-cut", debug=True)
    inside = 0
    for _ in range(RESET_CUTS):
        traces = machine_with_traces(machine, MUCH)
        machine.put_on_boot({"fieldgate/factory-reset": ""})
        machine.start()
        machine.await_console(BEGUN)
        seconds = chance.uniform(0, 4)
        time.sleep(seconds)
        machine.cut()
        # The marker is written first and goes last.
        is_inside = machine.data().has("/factory-reset")
        print(f"cut {seconds:.1f} s after the reset had begun, which was {'not ' if is_inside else ''}complete")
        inside += is_inside
        machine.start()
        is_reset(machine, traces)
    assert inside > 0, "no cut came before the reset was complete"
