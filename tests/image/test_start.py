"""The image as it is shipped, seen from outside: a card with a configuration, a start, a plug that is pulled."""

import re
import time

import pytest

import machine as emulated
from book import Book
from conftest import LONG

CUTS = 7 if LONG else 2
# Lines of the console from U-Boot to a gateway that serves; what a random moment is chosen from.
LINES = 330


def cut_at_random(machine, chance):
    """Pulls the plug somewhere between the first line of the console and a gateway that serves. Lines rather than seconds,
    because a busy machine starts slowly; and some seconds, for what goes on without one."""
    line, seconds = chance.randrange(LINES), chance.choice((0, 0, 1, 3, 8))
    started = time.monotonic()
    emulated.await_that(f"line {line}", lambda: machine.console().count("\n") >= line or "login:" in machine.console() or time.monotonic() - started > 300)
    time.sleep(seconds)
    machine.cut()
    print(f"cut at line {machine.console().count(chr(10))}, {seconds} s later")


@pytest.mark.parametrize("arch", ["armhf", "arm64"])
def test_card_is_taken_and_the_gateway_serves(device, arch):
    machine = device(f"card-{arch}", arch=arch)
    machine.start()
    machine.await_serving()
    emulated.await_that("the start is called good", lambda: machine.counters().get("BOOT_A_LEFT") == "3")
    assert machine.slots()[0][0] == "A"
    console = machine.console()
    assert "FAILED" not in console, [line for line in console.splitlines() if "FAILED" in line]
    machine.cut()
    files = machine.boot_files()
    assert "fieldgate/errors.txt" not in files, machine.read_from_boot("fieldgate/errors.txt")
    assert "fieldgate/users" not in files, "passwords stay on a card that anybody can read"
    assert re.fullmatch("[0-9a-f]{32}", machine.counters()["machine_id"])


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
    assert {slot for slot, _ in machine.slots()} == {"A"}


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
