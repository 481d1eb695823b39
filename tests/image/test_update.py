"""Updates and what undoes them, on a machine with a shell for the tests."""

import re
import time

import pytest

import bundles
import machine as emulated
from book import Book
from conftest import LONG
from test_reset import is_reset, leave_traces

MEDIUM = "/run/medium"
# Installations that are cut or finished, in turn, and cuts in a row of the start that tries what was installed.
INSTALLS = 6
TRIALS = (1, 2, 3)
# Before the gateway has been judged.
TRIAL_MOMENTS = ("Linux version", "systemd\\[1\\]", "fieldgate-data", "from the boot partition", "MQTT broker")


def start(machine, medium):
    machine.start(disk=medium)
    return proven(machine)


def proven(machine, patience=emulated.PATIENCE_S):
    """Waits for a start that is called good, and gives its slot."""
    machine.await_serving(patience)
    machine.until("systemctl is-active --quiet rauc-mark-good.service")
    machine.shell(f"mkdir -p {MEDIUM}; mountpoint -q {MEDIUM} || mount -o ro /dev/disk/by-label/medium {MEDIUM}")
    return machine.slots()[-1][0]


def machine_with_book(device, medium, name, **options):
    """A machine in slot A, and what it has acknowledged."""
    machine = device(name, debug=True, **options)
    assert start(machine, medium) == "A"
    book = Book(machine)
    book.write_for(5)
    return machine, book


def other(slot):
    return "B" if slot == "A" else "A"


def install(machine, name, check=True):
    return machine.shell(f"fieldgate update install {MEDIUM}/{name}.raucb", check)


def start_again(machine):
    """From inside, as an operator does it; gives the slots that were tried until one is good."""
    before = len(machine.slots())
    # The shell may be gone before it has said how that ended.
    machine.shell("systemctl --no-block reboot", check=False)
    emulated.await_that("U-Boot runs again", lambda: len(machine.slots()) > before)
    # A bad update is started three times before the good one is.
    slot = proven(machine, 4 * emulated.PATIENCE_S)
    return [*(tried for tried, _ in machine.slots()[before:-1]), slot]


def row(status, slot):
    """What `fieldgate update status` says of a slot: the version, then whether it runs, is proven, and the tries left."""
    found = re.search(rf"^{slot} +(as delivered|\S+) .* (yes|no) +(yes|no) +(\d+)$", status, re.MULTILINE)
    assert found, status
    return found.groups()


def good_update_is_taken(machine, book):
    here = machine.slots()[-1][0]
    install(machine, "good")
    status = machine.shell("fieldgate update status")
    assert row(status, other(here)) == ("9.9.9", "no", "no", "3") and f"The next start tries slot {other(here)}" in status
    assert start_again(machine) == [other(here)]
    assert book.missing() == []
    status = machine.shell("fieldgate update status")
    # What runs, and that it proved good.
    assert row(status, other(here)) == ("9.9.9", "yes", "yes", "9")
    assert f"slot {other(here)} passed" in status and "The next start" not in status


def bad_update_falls_back(machine, name, book):
    here = machine.slots()[-1][0]
    there = other(here)
    install(machine, name)
    assert start_again(machine) == [there, there, there, here]
    assert book.missing() == []
    status = machine.shell("fieldgate update status")
    assert row(status, here)[1:] == ("yes", "yes", "9") and row(status, there) == ("9.9.9", "no", "no", "0")
    assert f"slot {there} did not pass" in status and "The next start" not in status
    # Whether systemd took it for ready is what tells those who hang from those who exit. The three starts before this one were it.
    journal = "journalctl -q -u fieldgate.service -o cat -b"
    was_ready = ["Started fieldgate.service" in machine.shell(f"{journal} -{start}") for start in (3, 2, 1)]
    if name == "hangs":
        assert all(was_ready), "the broker did not hang, it never was ready"
    elif name != "storeless":
        assert not any(was_ready)


@pytest.mark.minutes(12)
def test_updates(device, medium):
    """One machine for all of it, since each start takes its minute."""
    machine, book = machine_with_book(device, medium, "updates")
    before = machine.shell("fw_printenv")
    for name, words in bundles.REFUSED.items():
        code, said = install(machine, name, check=False)
        assert code != 0 and re.search(words, said), f"{name}: {code} {said}"
        # Blocks are checked while they are written: a payload that is not what was signed costs the slot that did not run, and
        # nothing is ever started from there.
        if name != "tampered":
            assert machine.shell("fw_printenv") == before
    assert "BOOT_ORDER=A\n" in machine.shell("fw_printenv")

    good_update_is_taken(machine, book)
    bad_update_falls_back(machine, "exits", book)

    traces = leave_traces(machine, book)
    before = len(machine.slots())
    slot = machine.slots()[-1][0]
    machine.shell("fieldgate factory-reset --yes", check=False)
    # The start that makes the reset, and the one after it.
    machine.await_console(emulated.SLOT, times=before + 2)
    # The next owner's configuration and network are no trial of what proved good.
    machine.until("journalctl -q -b -u fieldgate-health-gate.service | grep -q 'was good before'")
    is_reset(machine, traces)
    assert [tried for tried, _ in machine.slots()[before:]] == [slot, slot]


@pytest.mark.long
@pytest.mark.minutes(8)
@pytest.mark.parametrize("name", ["hangs", "storeless"])
def test_update_that_does_not_serve_falls_back(device, medium, name):
    machine, book = machine_with_book(device, medium, name)
    bad_update_falls_back(machine, name, book)


@pytest.mark.long
@pytest.mark.minutes(8)
def test_update_that_cannot_mount_the_data_falls_back(device, medium):
    machine, book = machine_with_book(device, medium, "unmounted")
    install(machine, "unmounted")
    assert start_again(machine) == ["B", "B", "B", "A"]
    assert book.missing() == []
    status = machine.shell("fieldgate update status")
    assert row(status, "A")[1:] == ("yes", "yes", "9") and row(status, "B") == ("9.9.9", "no", "no", "0")
    assert len(re.findall("fieldgate: the start failed", machine.console())) == 3


@pytest.mark.long
@pytest.mark.minutes(8)
def test_update_that_has_changed_the_database_falls_back(device, medium):
    machine, book = machine_with_book(device, medium, "newer")
    bad_update_falls_back(machine, "newer", book)
    # The copy of before the change is at work, and what the newer version made of it is beside it.
    assert machine.shell("ls -d /var/lib/fieldgate/newer-*/gateway.db")
    assert "a newer version had brought the database to format 99" in machine.shell("fieldgate status")
    book.write_for(5)
    assert book.missing() == []


@pytest.mark.long
@pytest.mark.minutes(12)
def test_updates_of_armhf(device, medium_of_armhf):
    machine, book = machine_with_book(device, medium_of_armhf, "updates-armhf", arch="armhf")
    good_update_is_taken(machine, book)
    bad_update_falls_back(machine, "exits", book)


def expected_slot(machine):
    """The first of the order that has a try left."""
    counters = machine.counters()
    return next(slot for slot in counters["BOOT_ORDER"].split() if int(counters[f"BOOT_{slot}_LEFT"], 16) > 0)


def cut_install(machine, chance, is_to_finish):
    """Pulls the plug while an update is installed, or as soon as it is. Says which of the two it was."""
    here = machine.slots()[-1][0]
    machine.shell(f"rm -f /run/code; (fieldgate update install {MEDIUM}/good.raucb >/run/said 2>&1; echo $? >/run/code) &")
    if is_to_finish:
        machine.until("[ -e /run/code ]")
    else:
        # RAUC takes a slot out of the order before it writes there.
        emulated.await_that("the slot is written", lambda: machine.counters()["BOOT_ORDER"].split() == [here])
        time.sleep(chance.uniform(0, 6))
    code, said = machine.shell("cat /run/code", check=False)
    if code == 0:
        assert said == "0", machine.shell("cat /run/said")
    machine.cut()
    order = machine.counters()["BOOT_ORDER"].split()
    print(f"cut with exit code {said if code == 0 else 'to come'} and order {order}")
    # The other slot is the next one only if it was written to its end, which RAUC says last.
    if code == 0 or order[0] != here:
        assert order[0] == other(here)
        return "installed"
    assert order == [here]
    return "cut"


@pytest.mark.long
@pytest.mark.minutes(20)
def test_plug_is_pulled_during_an_update(device, medium, chance):
    machine, book = machine_with_book(device, medium, "cut-update")
    seen = []
    for number in range(INSTALLS):
        here = machine.slots()[-1][0]
        seen.append(cut_install(machine, chance, is_to_finish=number % 3 == 2))
        assert start(machine, medium) == (here if seen[-1] == "cut" else other(here))
        assert book.missing() == []
    assert {"cut", "installed"} <= set(seen), f"not everything was seen: {seen}"


@pytest.mark.long
@pytest.mark.minutes(20)
def test_plug_is_pulled_during_the_trial_of_an_update(device, medium, chance):
    machine, book = machine_with_book(device, medium, "cut-trial")
    for cuts in TRIALS:
        here = machine.slots()[-1][0]
        there = other(here)
        install(machine, "good")
        before = len(machine.slots())
        machine.shell("systemctl --no-block reboot", check=False)
        machine.await_console(emulated.SLOT, times=before + 1)
        for number in range(cuts):
            moment, seconds = chance.choice(TRIAL_MOMENTS), chance.uniform(0, 2)
            emulated.await_that(moment, lambda: re.search(moment, machine.sections()[-1]))
            time.sleep(seconds)
            machine.cut()
            left = machine.counters()[f"BOOT_{there}_LEFT"]
            print(f"trial of {there} cut {seconds:.1f} s after {moment!r}, tries left {left}")
            assert left == str(2 - number), "the trial was over before the plug was pulled"
            expected = expected_slot(machine)
            # Each try was counted before it was made, and three of them are all there are.
            assert expected == (there if number < 2 else here)
            machine.start(disk=medium)
            machine.await_console(emulated.SLOT)
            assert machine.slots()[0][0] == expected
        assert proven(machine) == expected
        assert len(machine.slots()) == 1
        assert book.missing() == []
        book.write_for(3)
