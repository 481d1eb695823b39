"""The image as it is shipped, seen from outside: a card with a configuration, a start, a plug that is pulled."""

import hashlib
import ipaddress
import re
import ssl
import time

import pytest

import machine as emulated
from book import Book
from conftest import LONG

# Together with those of an update and of a reset more than twenty in the long form.
FIRST_CUTS = 7 if LONG else 2
LOAD_CUTS = 7 if LONG else 2
# What the console says on the way to a gateway that serves. A random moment is some seconds after one of these: a busy machine
# starts slowly, and there is no clock to go by.
EARLY = ("fieldgate: slot A", "Linux version", "systemd\\[1\\]", "fieldgate-data", "growing /dev/vda4", "Growth of the data partition")
LATE = ("First start of the gateway|data partition is laid out", "from the boot partition", "MQTT broker", "login:")


def cut_at_random(machine, chance, moment):
    """Pulls the plug somewhere between the choice of a slot and a gateway that serves."""
    seconds = chance.uniform(0, 4)
    machine.await_console(moment)
    time.sleep(seconds)
    machine.cut()
    print(f"cut {seconds:.1f} s after {moment!r}, at line {machine.console().count(chr(10))}")


def is_grown(machine, more):
    """Whether the data partition has the rest of the card, and its file system all of the partition, as one of a large card."""
    data = machine.data()
    assert data.partition_size >= more * emulated.MIB, "the partition has not grown"
    assert data.size >= data.partition_size - 4 * emulated.MIB, "the file system has not grown"
    assert (data.block_size, data.bytes_of_inode) == (4096, 16384)


# Below these are those that services have; a question that waits for its answer has one of the others.
CLIENT_PORTS = 32768
TCP_LISTENS, UDP_TAKES_FROM_ALL = "0A", "07"


def listening(machine):
    """Protocol and port of whatever takes something from others, and of what takes it from the machine itself."""
    others, itself = set(), set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in machine.shell(f"cat /proc/net/{protocol}").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            words, port = local.split(":")
            # Each word of the address stands there as a number of this machine.
            address = ipaddress.ip_address(b"".join(int(words[at:at + 8], 16).to_bytes(4, "little") for at in range(0, len(words), 8)))
            address = getattr(address, "ipv4_mapped", None) or address
            port = int(port, 16)
            if state == TCP_LISTENS or state == UDP_TAKES_FROM_ALL and port < CLIENT_PORTS:
                (itself if address.is_loopback else others).add((protocol, port))
    return others, itself


@pytest.mark.minutes(2)
def test_without_a_card_no_port_is_open_to_others(device):
    machine = device("closed", card=False, debug=True)
    machine.start()
    machine.until("systemctl is-active --quiet fieldgate.service && systemctl is-active --quiet multi-user.target")
    # Both have seen the network: what they open for it is open.
    machine.until("grep -q '^OPER_STATE=routable' /run/systemd/netif/state && resolvectl llmnr | grep -q '^Link'")
    others, itself = listening(machine)
    assert ("tcp", 1883) in itself, "nothing listens at all"
    # Whoever asks for an address hears the answer.
    assert others <= {("udp", 68), ("udp6", 546)}, others


@pytest.mark.minutes(5)
@pytest.mark.parametrize(("arch", "more"), [("armhf", 512), ("arm64", 60 * 1024)], ids=["armhf", "arm64"])
def test_card_is_taken_and_the_gateway_serves(device, arch, more):
    machine = device(f"card-{arch}", arch=arch, more_mib=more)
    machine.start()
    root = machine.await_serving()
    emulated.await_that("the start is called good", lambda: machine.counters().get("BOOT_A_LEFT") == "9")
    assert machine.slots()[0][0] == "A"
    # Whoever stands before it reads where it is found, and the fingerprint of the root that was fetched.
    machine.await_console(r"Fieldgate [0-9.]+ on fieldgate-[0-9a-f]{6}\.local")
    der = ssl.PEM_cert_to_DER_cert(root.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    machine.await_console("Root +SHA-256 " + hashlib.sha256(der).hexdigest())
    console = machine.console()
    for word in ("FAILED", "fieldgate-boot: "):
        assert word not in console, [line for line in console.splitlines() if word in line]
    machine.cut()
    files = machine.boot_files()
    assert "fieldgate/errors.txt" not in files, machine.read_from_boot("fieldgate/errors.txt")
    assert "fieldgate/users" not in files, "passwords stay on a card that anybody can read"
    # Nobody had it open for writing when the plug was pulled.
    assert machine.boot_is_clean(), "the boot partition is not read-only"
    assert re.fullmatch("[0-9a-f]{32}", machine.counters()["machine_id"])
    is_grown(machine, more)


@pytest.mark.minutes(FIRST_CUTS * 3 + 1)
def test_plug_is_pulled_during_the_first_start(device, chance):
    unfinished = 0
    for number in range(FIRST_CUTS):
        # A first start happens once, so each has a new card; the early ones are those with most to do.
        machine = device(f"first-{number}", more_mib=512)
        machine.start()
        # The first is so early that it cannot be over, on however fast a machine.
        moments = EARLY[:3] if number == 0 else EARLY if number % 2 == 0 else LATE
        cut_at_random(machine, chance, chance.choice(moments))
        unfinished += not machine.data().has("/fieldgate/.provisioned") or "fieldgate/users" in machine.boot_files()
        machine.start()
        machine.await_serving()
        assert {slot for slot, _ in machine.all_slots()} == {"A"}
        machine.cut()
        assert "fieldgate/users" not in machine.boot_files()
        is_grown(machine, 512)
        machine.remove()
    assert unfinished > 0, "no cut came before the first start was over"


@pytest.mark.minutes(LOAD_CUTS * 2 + 1)
def test_plug_is_pulled_under_load(device, chance):
    machine = device("load")
    machine.start()
    machine.await_serving()
    book = Book(machine)
    for _ in range(LOAD_CUTS):
        book.write()
        time.sleep(chance.uniform(0, 12))
        machine.cut()
        book.stop()
        machine.start()
        machine.await_serving()
        assert book.missing() == []
    # Not one of the starts went to the other slot for a cut.
    assert {slot for slot, _ in machine.all_slots()} == {"A"}


@pytest.mark.long
@pytest.mark.minutes(2)
def test_card_with_a_fault_is_named_and_the_gateway_starts(device):
    machine = device("fault", card=False, debug=True)
    machine.put_on_boot({"fieldgate/gateway.toml": "[limits]\nconections_max = 5\n"})
    machine.start()
    machine.await_console("conections_max")
    machine.until("systemctl is-active --quiet fieldgate.service && systemctl is-active --quiet multi-user.target")
    # With what it had, on the ports of the device itself.
    assert "\npassed" in machine.shell("fieldgate health --gate --timeout 2min")
    assert machine.shell("systemctl show -p Result --value fieldgate-boot-import.service") == "exit-code"
    assert "\n  boot-import: " in machine.shell("fieldgate status")
    machine.cut()
    assert "conections_max" in machine.read_from_boot("fieldgate/errors.txt")
    assert machine.boot_is_clean(), "a fault leaves the boot partition open"


@pytest.mark.long
@pytest.mark.minutes(3)
def test_boot_partition_is_not_written_without_a_cause(device):
    machine = device("idle", card=False, debug=True)
    for _ in range(2):
        machine.start()
        machine.until("systemctl is-active --quiet fieldgate.service && systemctl is-active --quiet multi-user.target")
        assert machine.shell("awk '$2 == \"/boot\" { print $4 }' /proc/self/mounts").startswith("ro,")
        # What was written to since the start, in the numbers of the kernel.
        assert machine.shell("awk '{ print $5 }' /sys/class/block/vda1/stat") == "0"
        machine.cut()


@pytest.mark.long
@pytest.mark.minutes(4)
def test_clock_of_1970_keeps_nobody_out(device):
    machine = device("clock", debug=True)
    # systemd lifts the clock to the day when it was built, and later to when it last ran; nobody tells it the time.
    latest = time.time() - 30 * 24 * 3600
    for _ in range(2):
        machine.start("-rtc", "base=1970-01-01")
        assert int(machine.shell("date +%s")) < latest
        machine.await_serving()
        assert int(machine.shell("date +%s")) < latest
        assert machine.shell("timedatectl show -p NTPSynchronized --value") == "no"
        machine.cut()
