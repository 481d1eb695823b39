"""The programs of the appliance, run on files in place of devices: what they do to a data partition, to a name, to a start."""

import os
import re
import shutil

import pytest

import support

PROGRAMS = "systemd/appliance/libexec"


def run(tree, program, environment, stubs=None):
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if stubs:
        path = f"{stubs}:{path}"
    name, *arguments = program.split()
    return support.run(["sh", tree / PROGRAMS / name, *arguments], env={**os.environ, "PATH": path, **{key: str(value) for key, value in environment.items()}})


def stub(folder, name, text):
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


# How the image makes the data partition.
FORMAT = re.search(r'^FIELDGATE_DATA_FORMAT = "(.*)"$', (support.ROOT / support.LAYER / "conf/distro/fieldgate-os.conf").read_text(), re.M)[1]


class Data:
    """A data partition in a file."""

    def __init__(self, work):
        self.image = work / "data.img"
        self.run = work / "run"
        support.run(["truncate", "-s", "16M", self.image])
        (work / "content").mkdir()
        (work / "content/message").write_text("kept")
        code, output = support.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-b", "1024", "-L", "data", "-d", work / "content", self.image])
        assert code == 0, output

    def damage(self, start, length):
        with open(self.image, "r+b") as image:
            image.seek(start)
            image.write(b"\x5a" * length)

    def prepare(self, tree, form=FORMAT):
        environment = {"FIELDGATE_DATA": self.image, "FIELDGATE_DISK": "/dev/none", "SYSFS": "/nowhere", "RUN": self.run, "FIELDGATE_DATA_FORMAT": form}
        return run(tree, "data-prepare", environment)

    def superblock(self):
        """Bytes of a block, and bytes for which there is an inode."""
        text = support.run(["/sbin/dumpe2fs", "-h", self.image])[1]
        number = lambda name: int(re.search(rf"^{name}: +(\d+)$", text, re.M)[1])
        size = number("Block size")
        return size, number("Block count") * size // number("Inode count")

    def message(self):
        return support.run(["/sbin/debugfs", "-R", "cat /message", self.image])[1].splitlines()[-1:]

    def marks(self):
        return sorted(mark.name for mark in self.run.iterdir()) if self.run.exists() else []


def test_sound_data_is_left_alone(tree, tmp_path):
    data = Data(tmp_path)
    before = data.image.read_bytes()
    code, output = data.prepare(tree)
    assert code == 0 and data.marks() == [], output
    assert data.message() == ["kept"] and data.image.read_bytes()[:1024] == before[:1024]


def test_damaged_data_is_repaired_and_said_so(tree, tmp_path):
    data = Data(tmp_path)
    # The first superblock: there are copies of it.
    data.damage(1024, 1024)
    code, output = data.prepare(tree)
    assert code == 0 and data.marks() == ["repaired"] and "repaired" in output, output
    assert data.message() == ["kept"]


def lost(work):
    data = Data(work)
    data.damage(0, 16 << 20)
    return data


def test_lost_data_is_made_again_and_said_so(tree, tmp_path):
    data = lost(tmp_path)
    code, output = data.prepare(tree)
    assert code == 0 and data.marks() == ["made-again"], output
    assert "beyond repair" in output
    assert "data" in support.run(["/sbin/e2label", data.image])[1]
    # As on a card of 64 GB, however small it is now.
    assert data.superblock() == (4096, 16384)
    assert data.prepare(tree)[0] == 0


def test_data_that_is_made_again_for_a_small_card_is_noticed(broken, tmp_path):
    support.change(broken, f"{PROGRAMS}/data-prepare", "-F $FIELDGATE_DATA_FORMAT", "-F")
    (tmp_path / "work").mkdir()
    data = lost(tmp_path / "work")
    assert data.prepare(broken)[0] == 0 and data.superblock() != (4096, 16384)


def newer(work):
    """A sound file system with a feature that this e2fsck does not know, as a newer image may have made it."""
    data = Data(work)
    code, output = support.run(["/sbin/debugfs", "-w", "-R", "set_super_value feature_incompat 0x400002c2", data.image])
    assert code == 0, output
    return data, data.image.read_bytes()


def test_data_of_a_newer_image_is_not_formatted(tree, tmp_path):
    data, before = newer(tmp_path)
    code, output = data.prepare(tree)
    assert code == 0 and data.marks() == [] and "left as it is" in output, output
    assert data.image.read_bytes() == before


def test_formatting_of_what_e2fsck_does_not_know_is_noticed(broken, tmp_path):
    support.change(broken, f"{PROGRAMS}/data-prepare", "= ext4 ]", "= nothing ]")
    (tmp_path / "work").mkdir()
    data, before = newer(tmp_path / "work")
    data.prepare(broken)
    assert data.image.read_bytes() != before


def test_check_that_looks_away_is_noticed(broken, tmp_path):
    support.change(broken, f"{PROGRAMS}/data-prepare", "check || make_again", "check")
    (tmp_path / "work").mkdir()
    data = lost(tmp_path / "work")
    assert data.prepare(broken)[0] == 0 and data.marks() == []


def first_boot(tree, work):
    return run(tree, "first-boot", {"DATA": work / "data", "ETC": work / "etc"})


@pytest.fixture
def device(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/gateway.toml").write_text("# as built\n")
    (tmp_path / "data").mkdir()
    return tmp_path


def test_first_start_lays_out_the_data(tree, device):
    code, output = first_boot(tree, device)
    assert code == 0, output
    home = device / "data/fieldgate"
    assert sorted(path.name for path in home.iterdir()) == [".provisioned", "etc", "journal", "state", "systemd"]
    assert (home / "state").stat().st_mode & 0o777 == 0o700


def test_first_start_that_was_cut_begins_again(tree, device):
    home = device / "data/fieldgate"
    # Cut while it copied: half a file under the name that nobody reads.
    (home / ".etc.new").mkdir(parents=True)
    (home / ".etc.new/gateway.toml").write_text("# as")
    assert first_boot(tree, device)[0] == 0
    assert (home / "etc/gateway.toml").read_text() == "# as built\n" and not (home / ".etc.new").exists()


def test_configuration_of_the_operator_is_kept(tree, device):
    (device / "data/fieldgate/etc").mkdir(parents=True)
    (device / "data/fieldgate/etc/gateway.toml").write_text("# of the operator\n")
    assert first_boot(tree, device)[0] == 0
    assert (device / "data/fieldgate/etc/gateway.toml").read_text() == "# of the operator\n"


def host_name(tree, work, machine_id, own=None):
    (work / "machine-id").write_text(machine_id + "\n")
    if own is not None:
        (work / "data/fieldgate").mkdir(parents=True, exist_ok=True)
        (work / "data/fieldgate/hostname").write_text(own)
    code, output = run(tree, "host-name", {"DATA": work / "data", "MACHINE_ID": work / "machine-id", "KERNEL_NAME": work / "name"})
    assert code == 0, output
    return (work / "name").read_text().strip()


def test_host_names_differ_and_stay(tree, tmp_path):
    names = {host_name(tree, tmp_path, f"{number:032x}") for number in range(20)}
    assert len(names) == 20 and all(name.startswith("fieldgate-") and len(name) == 16 for name in names)
    assert host_name(tree, tmp_path, f"{0:032x}") in names
    assert "0" * 6 not in host_name(tree, tmp_path, f"{0:032x}"), "the machine id itself is not told"


@pytest.mark.parametrize(("own", "expected"), [("press-hall-2\n", "press-hall-2"), ("a b;c\n", "abc"), ("x" * 80, "x" * 63), ("\n", "fieldgate-")])
def test_own_host_name_is_taken(tree, tmp_path, own, expected):
    assert host_name(tree, tmp_path, "0123456789abcdef" * 2, own).startswith(expected)


def keep(tree, work, machine_id):
    stub(work / "bin", "fw_setenv", f'echo "$@" >{work}/kept')
    (work / "machine-id").write_text(machine_id + "\n")
    return run(tree, "keep-machine-id", {"MACHINE_ID": work / "machine-id"}, work / "bin")[0]


def test_machine_id_is_kept(tree, tmp_path):
    assert keep(tree, tmp_path, "0123456789abcdef" * 2) == 0
    assert (tmp_path / "kept").read_text() == "machine_id " + "0123456789abcdef" * 2 + "\n"


@pytest.mark.parametrize("machine_id", ["", "uninitialized", "0123; saveenv"])
def test_no_machine_id_is_not_kept(tree, tmp_path, machine_id):
    assert keep(tree, tmp_path, machine_id) != 0 and not (tmp_path / "kept").exists()


STATUS = "[slot.rootfs.0]\nsha256={}\ninstalled.timestamp=2026-01-01T00:00:00Z\n\n[slot.rootfs.1]\nsha256=other\n"


class Gate:
    """A machine that has just started, of stubs."""

    def __init__(self, work, slot="A", answer="passed", code=0):
        self.work = work
        self.slot = slot
        for folder in ("data/rauc", "bin"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        (work / "data/rauc/central.raucs").write_text(STATUS.format("first"))
        self.mounts("data")
        stub(work / "bin", "fieldgate", f'[ "$1 $2" != "update settle" ] || exec touch {work}/settled\n[ "$1 $2 $3" = "health --gate --timeout" ] || exit 64\necho "{answer}"\nexit {code}')

    def mounts(self, *folders):
        lines = (f"/dev/vda4 {self.work / folder} ext4 rw 0 0\n" for folder in folders)
        (self.work / "mounts").write_text("proc /proc proc rw 0 0\n" + "".join(lines))

    def ask(self, tree):
        (self.work / "cmdline").write_text(f"console=ttyAMA0 root=/dev/vda2 rauc.slot={self.slot} ro\n" if self.slot else "quiet\n")
        environment = {"DATA": self.work / "data", "COMMAND_LINE": self.work / "cmdline", "MOUNTS": self.work / "mounts", "TIME": "1s", "PAUSE": "0"}
        return run(tree, "health-gate", environment, self.work / "bin")


def test_gateway_that_serves_is_good(tree, tmp_path):
    code, output = Gate(tmp_path).ask(tree)
    assert code == 0 and "slot A is good" in output, output
    assert (tmp_path / "data/fieldgate/update/gate").read_text() == "slot A passed\npassed\n"
    assert (tmp_path / "settled").exists(), "the copy of before the update is a way back for ever"


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"code": 1, "answer": "not passed: port *:8883 is not open"}, "not passed: port *:8883 is not open"),
        ({"slot": ""}, "names no slot"),
    ],
)
def test_gateway_that_does_not_serve_is_not_good(tree, tmp_path, machine, said):
    code, output = Gate(tmp_path, **machine).ask(tree)
    assert code == 1 and said in output, output
    assert not (tmp_path / "data/fieldgate/proven").exists() and not (tmp_path / "settled").exists()
    if machine.get("code"):
        assert "slot A did not pass" in (tmp_path / "data/fieldgate/update/gate").read_text()


@pytest.mark.parametrize("status", ["", STATUS.split("\n\n")[1]])
def test_image_that_came_with_the_device_is_not_started_for_ever(tree, tmp_path, status):
    gate = Gate(tmp_path, code=1, answer="not passed: port 192.168.1.5:8883 is not open")
    (tmp_path / "data/rauc/central.raucs").write_text(status)
    code, output = gate.ask(tree)
    assert code == 0 and "nothing to go back to" in output, output
    assert not (tmp_path / "data/fieldgate/proven").exists(), "it is asked again at the next start"
    assert "slot A did not pass" in (tmp_path / "data/fieldgate/update/gate").read_text()


@pytest.mark.parametrize("code", [0, 1])
def test_image_that_did_not_mount_its_data_is_not_good(tree, tmp_path, code):
    gate = Gate(tmp_path, slot="B", code=code)
    # A folder of the root, as it is without a partition over it.
    shutil.rmtree(tmp_path / "data/rauc")
    gate.mounts("data/fieldgate")
    said, output = gate.ask(tree)
    assert said == 1 and "is not mounted" in output, output
    assert list((tmp_path / "data").iterdir()) == [] and not (tmp_path / "settled").exists()


@pytest.mark.parametrize("unit", ["data.mount", "etc-fieldgate.mount", "var-lib-fieldgate.mount", "fieldgate-factory-reset.service"])
def test_start_that_has_nothing_to_run_on_is_made_again(tree, unit):
    folder = tree / "systemd/appliance"
    assert "RequiredBy=local-fs.target\n" in (folder / unit).read_text()
    # By minutes, or a medium that has died would have the machine start without a pause.
    text = (folder / "drop-ins/emergency.service.d/50-appliance.conf").read_text()
    assert int(re.search(r"^Environment=PAUSE=(\d+)$", text, re.M)[1]) >= 120
    assert "sleep ${PAUSE}; exec systemctl --force reboot" in text


def test_judge_is_told_what_was_wrong_before_the_update(tree, tmp_path):
    gate = Gate(tmp_path)
    stub(tmp_path / "bin", "fieldgate", f'echo "$@" >>{tmp_path}/asked')
    assert gate.ask(tree)[0] == 0
    assert f"--known {tmp_path}/data/fieldgate/update/known" in (tmp_path / "asked").read_text()


def test_image_that_was_good_is_not_put_to_the_test_again(tree, tmp_path):
    assert Gate(tmp_path).ask(tree)[0] == 0
    (tmp_path / "settled").unlink()
    code, output = Gate(tmp_path, code=1).ask(tree)
    assert code == 0 and "was good before" in output, output
    assert (tmp_path / "settled").exists(), "a start that was cut after the proof leaves the copy for ever"


def test_other_image_in_the_same_slot_is_put_to_the_test(tree, tmp_path):
    assert Gate(tmp_path).ask(tree)[0] == 0
    gate = Gate(tmp_path, code=1)
    (tmp_path / "data/rauc/central.raucs").write_text(STATUS.format("second"))
    assert gate.ask(tree)[0] == 1


def test_gate_that_does_not_listen_to_the_judge_is_noticed(broken, tmp_path):
    support.change(broken, f"{PROGRAMS}/health-gate", "if report=$(fieldgate health --gate", "if report=$(true || fieldgate health --gate")
    (tmp_path / "work").mkdir()
    assert Gate(tmp_path / "work", code=1).ask(broken)[0] == 0


def console(tree, tmp_path, said):
    """One round of what keeps the consoles up to date; what they show, and how often they were told."""
    stubs = tmp_path / "stubs"
    stub(stubs, "fieldgate", f"echo \"$@\" >>{tmp_path}/asked\ncat {tmp_path}/said")
    stub(stubs, "agetty", f"echo told >>{tmp_path}/told")
    (tmp_path / "said").write_text(said)
    issue = tmp_path / "run/issue.d/50-fieldgate.issue"
    code, output = run(tree, "console", {"ISSUE": issue, "CONSOLE": "/dev/null", "ROUNDS": 1}, stubs)
    assert code == 0, output
    told = tmp_path / "told"
    return (issue.read_text() if issue.exists() else None), len(told.read_text().splitlines()) if told.exists() else 0


def test_consoles_are_told_of_what_is_new_alone(tree, tmp_path):
    assert console(tree, tmp_path, "on gw-1.local\n") == ("on gw-1.local\n\n", 1)
    assert console(tree, tmp_path, "on gw-1.local\n") == ("on gw-1.local\n\n", 1)
    assert console(tree, tmp_path, "on gw-2.local\n") == ("on gw-2.local\n\n", 2)
    # A program that says nothing has failed; the last word stands.
    assert console(tree, tmp_path, "") == ("on gw-2.local\n\n", 2)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "console --issue --size 80 24"


def test_import_comes_before_the_gateway_and_after_the_reset(tree):
    text = (tree / "systemd/appliance/fieldgate-boot-import.service").read_text()
    assert "Before=fieldgate.service\n" in text
    after = next(line for line in text.splitlines() if line.startswith("After="))
    for unit in ("boot.mount", "fieldgate-firstboot.service", "fieldgate-factory-reset.service", "fieldgate-hostname.service"):
        assert unit in after
    # What is wrong on the card must not keep the gateway from starting.
    assert "RequiredBy" not in text and "FailureAction" not in text


@pytest.mark.parametrize("unit", ["etc-fieldgate.mount", "var-lib-fieldgate.mount"])
def test_gateway_does_not_run_on_what_a_reset_has_left(tree, unit):
    lines = (tree / "systemd/appliance" / unit).read_text().splitlines()
    for key in ("Requires=", "After="):
        assert any(line.startswith(key) and "fieldgate-factory-reset.service" in line.split("=")[1].split() for line in lines)


class Boot:
    """A boot partition that somebody has mounted, and what is done to it."""

    def __init__(self, work, kind="vfat"):
        self.folder = work / "boot"
        self.folder.mkdir()
        self.said = work / "said"
        (work / "mounts").write_text(f"proc /proc proc rw 0 0\n/dev/vda1 {self.folder} {kind} ro 0 0\n")
        stub(work / "bin", "mount", f'echo "$@" >>{self.said}')
        # What is done in the mounts of the machine.
        stub(work / "bin", "nsenter", '[ "$1" = --mount=/proc/1/ns/mnt ] || exit 64\nshift\nexec "$@"')
        self.environment = {"BOOT": self.folder, "MOUNTS": work / "mounts"}
        self.stubs = work / "bin"

    def ask(self, tree, word):
        code, output = run(tree, f"boot-partition {word}", self.environment, self.stubs)
        assert code == 0, output
        return self.said.read_text().splitlines()[-1:] if self.said.exists() else []


def test_boot_partition_is_opened_and_closed(tree, tmp_path):
    boot = Boot(tmp_path)
    (boot.folder / "FSCK0000.REC").write_text("press-1:correct horse")
    (boot.folder / "boot.scr").write_text("kept")
    assert boot.ask(tree, "open") == [f"-o remount,rw {boot.folder}"]
    assert [file.name for file in boot.folder.iterdir()] == ["boot.scr"], "pieces of passwords stay"
    assert boot.ask(tree, "close") == [f"-o remount,ro {boot.folder}"]


def test_boot_partition_is_opened_for_what_a_check_has_left_alone(tree, tmp_path):
    boot = Boot(tmp_path)
    assert boot.ask(tree, "tidy") == [], "every start writes to it"
    (boot.folder / "FSCK0000.REC").write_text("press-1:correct horse")
    (boot.folder / "FSCK0001.REC").write_text("")
    assert boot.ask(tree, "tidy") == [f"-o remount,ro {boot.folder}"]
    assert boot.said.read_text().splitlines()[0] == f"-o remount,rw {boot.folder}"
    assert list(boot.folder.iterdir()) == [], "pieces of passwords stay"


@pytest.mark.parametrize("word", ["tidy", "open", "close"])
def test_folder_that_is_no_boot_partition_is_left_alone(tree, tmp_path, word):
    boot = Boot(tmp_path, "ext4")
    (boot.folder / "FSCK0000.REC").write_text("of somebody")
    assert boot.ask(tree, word) == [] and list(boot.folder.iterdir())


def test_boot_partition_that_was_cut_is_mended(tree, tmp_path):
    image = tmp_path / "boot.img"
    assert support.run(["/sbin/mkfs.vfat", "-C", "-n", "boot", image, "65536"])[0] == 0
    check = lambda: run(tree, "boot-partition check", {"BOOT_DEVICE": image})
    assert check() == (0, "")
    with open(image, "r+b") as file:
        # Where the kernel writes down that it is mounted.
        file.seek(0x25)
        file.write(b"\x01")
    code, output = check()
    assert code == 0 and "had something to do (fsck.vfat says 1)" in output and "Dirty bit" in output, output
    assert check() == (0, "")
    image.write_bytes(b"\x5a" * (1 << 20))
    code, output = check()
    assert code == 0 and "had something to do" in output, output


# A reset opens it itself, once it has a cause.
@pytest.mark.parametrize(("unit", "before"), [("fieldgate-boot-import.service", "open"), ("fieldgate-factory-reset.service", "tidy")])
def test_boot_partition_is_writable_for_those_who_write_alone(tree, unit, before):
    folder = tree / "systemd/appliance"
    assert re.search(r"^Options=ro,", (folder / "boot.mount").read_text(), re.M)
    lines = [line for line in (folder / unit).read_text().splitlines() if line.startswith("Exec")]
    said = [re.sub(r"=\+?/usr/(libexec/fieldgate|bin)/", " ", line) for line in lines]
    assert said[0] == f"ExecStartPre boot-partition {before}" and said[1].startswith("ExecStart fieldgate ")
    assert said[-2:] == ["ExecStartPost boot-partition close", "ExecStopPost boot-partition close"]
