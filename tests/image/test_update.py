"""Updates and what undoes them, on a machine with a shell for the tests."""

import re
import time

import pytest

import bundles
import machine as emulated
from book import Book
from conftest import LONG

MEDIUM = "/run/medium"
# What is wrong with each, and with which words it is refused.
REFUSED = {
    "unsigned": "no bundle that this machine takes",
    "foreign": "sign|takes",
    "other": "is for `fieldgate-image-armhf`",
    "product": "is for `fieldgate-image-arm64`",
    "tampered": "Input/output error|Failed|failed",
}


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    """A second disk with every update that the tests need."""
    folder = tmp_path_factory.mktemp("updates")
    shipped, root = emulated.IMAGES / "debug/fieldgate-arm64.raucb", emulated.IMAGES / "debug/fieldgate-arm64.ext4"
    good = bundles.bundle(folder, "good", root)
    files = [
        good,
        bundles.bundle(folder, "foreign", root, signer="foreign"),
        bundles.bundle(folder, "other", root, compatible="fieldgate-image-armhf"),
        bundles.bundle(folder, "product", root, compatible="fieldgate-image-arm64"),
        bundles.tampered(good, folder / "tampered.raucb"),
        bundles.unsigned(shipped, folder / "unsigned.raucb"),
    ]
    for name, program in bundles.BAD.items():
        if LONG or name == "exits":
            files.append(bundles.bundle(folder, name, bundles.root_with_broker(root, folder / f"{name}.ext4", program)))
    return bundles.medium(folder, files)


def start(machine, medium):
    machine.start(disk=medium)
    return proven(machine)


def proven(machine):
    """Waits for a start that is called good, and gives its slot."""
    machine.await_serving()
    machine.until("systemctl is-active --quiet rauc-mark-good.service")
    machine.shell(f"mkdir -p {MEDIUM}; mountpoint -q {MEDIUM} || mount -o ro /dev/disk/by-label/medium {MEDIUM}")
    return machine.slots()[-1][0]


def install(machine, name, check=True):
    return machine.shell(f"fieldgate update install {MEDIUM}/{name}.raucb", check)


def start_again(machine):
    """From inside, as an operator does it; gives the slots that were tried until one is good."""
    before = len(machine.slots())
    machine.shell("systemctl --no-block reboot")
    emulated.await_that("U-Boot runs again", lambda: len(machine.slots()) > before)
    slot = proven(machine)
    return [*(tried for tried, _ in machine.slots()[before:-1]), slot]


def bad_update_falls_back(machine, name, book):
    here = machine.slots()[-1][0]
    there = "B" if here == "A" else "A"
    install(machine, name)
    assert start_again(machine) == [there, there, there, here]
    assert book.missing() == []


def test_updates(device, medium):
    """One machine for all of it, since each start takes its minute."""
    machine = device("updates", debug=True)
    assert start(machine, medium) == "A"
    book = Book(machine)
    book.write()
    time.sleep(5)
    book.stop()

    before = machine.shell("fw_printenv")
    for name, words in REFUSED.items():
        code, said = install(machine, name, check=False)
        assert code != 0 and re.search(words, said), f"{name}: {code} {said}"
        # Blocks are checked while they are written: a payload that is not what was signed costs the slot that did not run, and
        # nothing is ever started from there.
        if name != "tampered":
            assert machine.shell("fw_printenv") == before
    assert "BOOT_ORDER=A\n" in machine.shell("fw_printenv")

    install(machine, "good")
    assert start_again(machine) == ["B"]
    assert book.missing() == []
    status = machine.shell("fieldgate update status")
    # What runs, and that it proved good.
    assert re.search(r"^B +9\.9\.9 .* yes +yes +9$", status, re.MULTILINE), status

    bad_update_falls_back(machine, "exits", book)
    reset(machine, "fieldgate factory-reset --yes", book)


def reset(machine, command, book):
    """What was there is gone, and the machine is as on its first start, in the slot that it ran."""
    slot = machine.slots()[-1][0]
    root = (machine.folder / "ca.crt").read_bytes()
    identity = machine.shell("cat /etc/machine-id")
    before = len(machine.slots())
    machine.shell(command, check=False)
    emulated.await_that("U-Boot runs again", lambda: len(machine.slots()) > before)
    machine.until("systemctl is-active --quiet multi-user.target && [ -e /data/fieldgate/.provisioned ]")
    assert machine.slots()[-1][0] == slot
    assert machine.shell("cat /etc/machine-id") != identity
    kept = machine.shell("ls /var/lib/fieldgate; journalctl -o cat | grep -c 'book/' || true; fieldgate user list 2>&1")
    assert "press-1" not in kept, kept
    assert root.decode().splitlines()[1] not in machine.shell("cat /var/lib/fieldgate/ca/* 2>/dev/null; true")


@pytest.mark.long
@pytest.mark.parametrize("name", ["hangs", "storeless"])
def test_update_that_does_not_serve_falls_back(device, medium, name):
    machine = device(name, debug=True)
    assert start(machine, medium) == "A"
    book = Book(machine)
    book.write()
    time.sleep(5)
    book.stop()
    bad_update_falls_back(machine, name, book)


@pytest.mark.long
def test_plug_is_pulled_during_an_update(device, medium, chance):
    machine = device("cut-update", debug=True)
    assert start(machine, medium) == "A"
    book = Book(machine)
    book.write()
    time.sleep(5)
    book.stop()
    for _ in range(6):
        here = machine.slots()[-1][0]
        machine.shell(f"fieldgate update install {MEDIUM}/good.raucb >/run/installed 2>&1 &")
        time.sleep(chance.uniform(0, 25))
        machine.cut()
        # The other slot is the next one only if it was written to its end, which RAUC says last.
        order = machine.counters()["BOOT_ORDER"].split()
        assert start(machine, medium) == order[0], f"cut in slot {here}, with {order}"
        assert book.missing() == []


@pytest.mark.long
@pytest.mark.parametrize("way", ["file", "argument"])
def test_factory_reset(device, medium, way):
    machine = device(f"reset-{way}", debug=True)
    start(machine, medium)
    root = (machine.folder / "ca.crt").read_bytes()
    machine.cut()
    if way == "file":
        machine.put_on_boot({"fieldgate/factory-reset": ""})
    else:
        machine.set_counters(boot_args="fieldgate.factory-reset")
    machine.start(disk=medium)
    machine.await_console("fieldgate: slot", times=2)
    machine.until("systemctl is-active --quiet multi-user.target && [ -e /data/fieldgate/.provisioned ]")
    assert "press-1" not in machine.shell("fieldgate user list 2>&1", check=False)[1]
    assert root.decode().splitlines()[1] not in machine.shell("cat /var/lib/fieldgate/ca/* 2>/dev/null; true")
    # Once for each cause.
    machine.shell("sleep 5")
    assert len(machine.slots()) == 2


@pytest.mark.long
def test_data_partition_that_is_full(device, medium):
    machine = device("full", debug=True)
    start(machine, medium)
    machine.shell("dd if=/dev/zero of=/data/filler bs=1M; sync", check=False)
    machine.cut()
    machine.start(disk=medium)
    machine.until("systemctl is-active --quiet fieldgate.service")
    machine.shell("rm /data/filler; sync")
    machine.await_serving()


@pytest.mark.long
def test_data_partition_that_is_damaged(device, medium):
    machine = device("damage", debug=True)
    start(machine, medium)
    machine.cut()
    # The first superblock: there are copies of it.
    machine.damage("data", 1024, 1024)
    machine.start(disk=medium)
    machine.await_console("fieldgate-data: repaired")
    machine.await_serving()
    machine.cut()
    machine.damage("data", 0, 96 * emulated.MIB)
    machine.start(disk=medium)
    machine.await_console("fieldgate-data: beyond repair")
    machine.until("systemctl is-active --quiet fieldgate.service")
