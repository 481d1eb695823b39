"""The image as it is shipped, seen from outside: a card with a configuration, a start, a plug that is pulled."""

import hashlib
import re
import ssl
import time

import pytest

import machine as emulated
from book import Book
from conftest import LONG

CUTS = 7 if LONG else 2
# What the console says on the way to a gateway that serves. A random moment is some seconds after one of these: a busy machine
# starts slowly, and there is no clock to go by.
MOMENTS = ("fieldgate: slot A", "Linux version", "systemd\\[1\\]", "fieldgate-data", "First start of the gateway", "Configuration from the boot partition", "MQTT broker", "login:")


def cut_at_random(machine, chance):
    """Pulls the plug somewhere between the choice of a slot and a gateway that serves."""
    # A start that follows one that was cut late has no first start to wait for.
    moment, seconds = chance.choice(MOMENTS), chance.uniform(0, 6)
    emulated.await_that(moment, lambda: re.search(f"{moment}|login:", machine.console()))
    time.sleep(seconds)
    machine.cut()
    print(f"cut {seconds:.1f} s after {moment!r}, at line {machine.console().count(chr(10))}")


@pytest.mark.parametrize("arch", ["armhf", "arm64"])
def test_card_is_taken_and_the_gateway_serves(device, arch):
    machine = device(f"card-{arch}", arch=arch, more_mib=512)
    _, size = machine.partitions()["data"]
    machine.start()
    root = machine.await_serving()
    emulated.await_that("the start is called good", lambda: machine.counters().get("BOOT_A_LEFT") == "9")
    assert machine.slots()[0][0] == "A"
    # Whoever stands before it reads where it is found, and the fingerprint of the root that was fetched.
    machine.await_console(r"Fieldgate [0-9.]+ on fieldgate-[0-9a-f]{6}\.local")
    der = ssl.PEM_cert_to_DER_cert(root.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    machine.await_console("Root +SHA-256 " + hashlib.sha256(der).hexdigest())
    console = machine.console()
    assert "FAILED" not in console, [line for line in console.splitlines() if "FAILED" in line]
    machine.cut()
    files = machine.boot_files()
    assert "fieldgate/errors.txt" not in files, machine.read_from_boot("fieldgate/errors.txt")
    assert "fieldgate/users" not in files, "passwords stay on a card that anybody can read"
    assert re.fullmatch("[0-9a-f]{32}", machine.counters()["machine_id"])
    # The data partition has the rest of the card, and its file system all of the partition.
    assert machine.partitions()["data"][1] >= size + 500 * emulated.MIB
    assert machine.size_of_data() >= size + 500 * emulated.MIB


def test_plug_is_pulled_during_the_first_start_and_under_load(device, chance):
    machine = device("cuts")
    for _ in range(CUTS):
        machine.start()
        cut_at_random(machine, chance)
    machine.start()
    machine.await_serving()
    book = Book(machine)
    for _ in range(CUTS):
        book.write()
        time.sleep(chance.uniform(2, 12))
        machine.cut()
        book.stop()
        machine.start()
        machine.await_serving()
        assert book.missing() == []
    assert len(book.acknowledged) > CUTS, "nothing was put to the test"
    # Not one of the starts went to the other slot for a cut.
    assert {slot for slot, _ in machine.all_slots()} == {"A"}


@pytest.mark.long
def test_card_with_a_fault_is_named_and_the_gateway_starts(device):
    machine = device("fault", card=False)
    machine.put_on_boot({"fieldgate/gateway.toml": "[limits]\nconections_max = 5\n"})
    machine.start()
    machine.await_console("conections_max")
    machine.await_console("login:|fieldgate-")
    machine.cut()
    assert "conections_max" in machine.read_from_boot("fieldgate/errors.txt")


@pytest.mark.long
def test_clock_of_1970_keeps_nobody_out(device):
    machine = device("clock")
    machine.start("-rtc", "base=1970-01-01")
    machine.await_serving()
    machine.cut()
    machine.start("-rtc", "base=1970-01-01")
    machine.await_serving()
