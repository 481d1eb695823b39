"""The boot script that the layer renders, run by U-Boot in QEMU: it counts, it falls back, and it never waits for anybody."""

import pathlib
import re
import struct
import subprocess

import pytest

import layer
import support

MIB = 1 << 20
SECTOR = 512
BOOT_SECONDS_MAX = 240
SCRIPT = support.LAYER + "/recipes-bsp/fieldgate-boot/files/boot.cmd.in"

EMULATORS = {
    "qemuarm64": (["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"], "/usr/lib/u-boot/qemu_arm64/u-boot.bin", "arm64"),
    "qemuarm": (["qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"], "/usr/lib/u-boot/qemu_arm/u-boot.bin", "arm"),
}

# Kernels of a few instructions: print a letter on the serial port of the machine, then ask it to start again.
UART = 0x0900_0000
SYSTEM_RESET = 0x8400_0009


def kernel_arm64(letter):
    code = struct.pack(
        "<6I",
        0xD2A00001 | (UART >> 16) << 5,  # movz x1, #UART, lsl #16
        0x52800000 | ord(letter) << 5,  # movz w0, #letter
        0x39000020,  # strb w0, [x1]
        0x52800000 | (SYSTEM_RESET & 0xFFFF) << 5,  # movz w0, #low
        0x72A00000 | (SYSTEM_RESET >> 16) << 5,  # movk w0, #high, lsl #16
        0xD4000002,  # hvc #0
    )
    code += struct.pack("<I", 0x14000000)  # b .
    header = struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, 0, 0x10000, 0xA, 0, 0, 0, b"ARM\x64", 0)
    return (header + code).ljust(4096, b"\0")


def movw(register, value, top):
    base = 0xE3400000 if top else 0xE3000000
    return base | (value >> 12) << 16 | register << 12 | (value & 0xFFF)


def kernel_arm(letter):
    code = struct.pack(
        "<8I",
        movw(1, 0, False),
        movw(1, UART >> 16, True),
        0xE3A02000 | ord(letter),  # mov r2, #letter
        0xE5C12000,  # strb r2, [r1]
        movw(0, SYSTEM_RESET & 0xFFFF, False),
        movw(0, SYSTEM_RESET >> 16, True),
        0xE1400070,  # hvc #0
        0xEAFFFFFE,  # b .
    )
    size = 4096
    header = struct.pack("<9I", *[0xE1A00000] * 8, 0xEA000005) + struct.pack("<3I", 0x016F2818, 0, size)
    return (header.ljust(64, b"\0") + code).ljust(size, b"\0")


KERNELS = {"qemuarm64": kernel_arm64, "qemuarm": kernel_arm}


class Machine:
    """A disk with the slots of the layer, and the flash with the counters."""

    def __init__(self, tree, work, name, kernels="AB"):
        self.name = name
        self.folder = work
        work.mkdir(parents=True, exist_ok=True)
        data = layer.parse(tree, name, work / "bitbake", "fieldgate-boot")
        prepare(data)
        rendered = pathlib.Path(data.getVar("B"))
        self.script = (rendered / "boot.cmd").read_text()
        self.flash = work / "flash1.img"
        self.flash.write_bytes(b"\xff" * 64 * MIB)
        self.environment(rendered / "fw_env.config")
        self.disk(rendered / "boot.cmd", data.getVar("KERNEL_IMAGETYPE"), kernels)

    def environment(self, rendered):
        """fw_env.config for the file that is the flash. Debian's U-Boot keeps one copy, which is where ours has the first."""
        first = next(line for line in rendered.read_text().splitlines() if not line.startswith("#")).split()
        assert int(first[1], 16) == 64 * MIB, "Linux has both flashes in one device, the second after 64 MiB"
        self.config = self.folder / "fw_env.config"
        self.config.write_text(f"{self.flash} 0x0 {first[2]} {first[3]}\n")

    def disk(self, script, kernel_name, kernels):
        parts = []
        boot = self.folder / "boot.vfat"
        compiled = self.folder / "boot.scr"
        done(["mkimage", "-A", EMULATORS[self.name][2], "-T", "script", "-C", "none", "-d", script, compiled])
        done(["mkfs.vfat", "-C", "-n", "boot", boot, 16 * 1024])
        done(["mcopy", "-i", boot, compiled, "::/boot.scr"])
        parts.append(("boot", boot, "LegacyBIOSBootable"))
        for letter in "AB":
            root = self.folder / f"root-{letter}"
            (root / "boot").mkdir(parents=True)
            if letter in kernels:
                (root / "boot" / kernel_name).write_bytes(KERNELS[self.name](letter))
            image = self.folder / f"root-{letter}.ext4"
            done(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "8M"])
            parts.append((f"root_{letter.lower()}", image, ""))
        self.image = self.folder / "disk.img"
        with open(self.image, "wb") as disk:
            disk.truncate(64 * MIB)
        table, start = "label: gpt\n", 4 * MIB
        for label, image, attributes in parts:
            size = image.stat().st_size
            table += f"start={start // SECTOR}, size={size // SECTOR}, name={label}" + (f", attrs={attributes}" if attributes else "") + "\n"
            with open(self.image, "r+b") as disk:
                disk.seek(start)
                disk.write(image.read_bytes())
            start += -(-size // (4 * MIB)) * 4 * MIB
        done(["sfdisk", "--quiet", self.image], input=table)

    def boot(self):
        """One start, up to the reset that ends it; gives what came over the serial port."""
        emulator, firmware, _ = EMULATORS[self.name]
        _, output = support.run(
            ["timeout", BOOT_SECONDS_MAX, *emulator, "-m", "256", "-nographic",
             # Time goes by instructions, so that a busy machine is not taken for a flash that does not answer.
             "-icount", "shift=4,sleep=off", "-no-reboot", "-bios", firmware,
             "-drive", f"if=pflash,format=raw,index=1,file={self.flash}",
             "-drive", f"if=none,id=d0,format=raw,file={self.image}", "-device", "virtio-blk-device,drive=d0", "-nic", "none"],
            stdin=subprocess.DEVNULL,
        )
        return output

    def start(self):
        """What one start did, in a few letters: the slot, its tries, and the kernel that ran or `-`."""
        output = self.boot()
        if "no tries left" in output:
            return "none left"
        found = re.search(r"fieldgate: slot ([AB]), (\d) tries left after this one\s*(.*)", output, re.S)
        assert found, output[-3000:]
        kernel = re.search(r"Starting kernel \.\.\.\s*([AB])", found[3])
        return found[1] + found[2] + (kernel[1] if kernel else "-")

    def variables(self):
        code, output = support.run(["fw_printenv", "-c", self.config])
        assert code == 0, output
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def environment_of(self, values):
        """Variables before the first start: U-Boot takes the rest from its own defaults when it has booted once."""
        assert self.start()
        self.set(BOOT_A_LEFT="3", BOOT_B_LEFT="3")
        self.set(**values)

    def set(self, **values):
        for name, value in values.items():
            done(["fw_setenv", "-c", self.config, name, value])


def done(arguments, **options):
    code, output = support.run(arguments, **options)
    assert code == 0, f"{arguments}: {output}"


def prepare(data):
    unpacked = pathlib.Path(data.getVar("UNPACKDIR"))
    unpacked.mkdir(parents=True)
    for name in ("boot.cmd.in", "fw_env.config.in"):
        (unpacked / name).write_text((pathlib.Path(data.getVar("FILE_DIRNAME")) / "files" / name).read_text())
    layer.execute_python(data, "do_render")


@pytest.mark.parametrize("name", EMULATORS)
def test_tries_are_counted_and_the_other_slot_follows(tree, tmp_path, name):
    machine = Machine(tree, tmp_path, name)
    # Nobody calls a start good: three of A, three of B, then all over again.
    starts = [machine.start() for _ in range(8)]
    assert starts == ["A2A", "A1A", "A0A", "B2B", "B1B", "B0B", "none left", "A2A"]


def test_slot_that_proved_good_stays(tree, tmp_path):
    machine = Machine(tree, tmp_path, "qemuarm64")
    for _ in range(2):
        assert machine.start() == "A2A"
        # What RAUC does when a start is good.
        machine.set(BOOT_A_LEFT="3")
    # What RAUC does when it has installed into B: B is first, and has its tries.
    machine.set(BOOT_ORDER="B A", BOOT_B_LEFT="3", machine_id="0123456789abcdef0123456789abcdef")
    assert [machine.start() for _ in range(4)] == ["B2B", "B1B", "B0B", "A2A"]
    variables = machine.variables()
    assert "slot" not in variables and variables["BOOT_B_LEFT"] == "0", variables


def test_slot_without_a_kernel_is_left(tree, tmp_path):
    machine = Machine(tree, tmp_path, "qemuarm64", kernels="B")
    assert [machine.start() for _ in range(4)] == ["A2-", "A1-", "A0-", "B2B"]


@pytest.mark.parametrize(
    ("old", "new", "before", "right", "wrong"),
    [
        # Nothing is counted where it has to last.
        ("setenv slot\nsetenv slot_part\n@SAVE@\n", "setenv slot\nsetenv slot_part\n", {}, ["A2A", "A1A"], ["A2A", "A2A"]),
        # A counter that is only looked at.
        ('setexpr BOOT_A_LEFT "${BOOT_A_LEFT}" - 1', "true", {}, ["A2A", "A1A"], ["A3A", "A3A"]),
        # The second slot is the first one.
        ("setenv slot_part 3", "setenv slot_part 2", {"BOOT_A_LEFT": "0"}, ["B2B"], ["B2A"]),
        ("@TRIES@", "1", {}, ["A2A"], ["A0A"]),
        # Whoever has no try left is tried all the same.
        ('itest.l "0x${BOOT_A_LEFT}" -gt 0', "true", {"BOOT_A_LEFT": "0"}, ["B2B"], ["Affffffff"]),
    ],
)
def test_broken_script_does_otherwise(broken, tree, tmp_path, old, new, before, right, wrong):
    for source, expected in ((tree, right), (broken, wrong)):
        if source is broken:
            support.change(broken, SCRIPT, old, new)
        machine = Machine(source, tmp_path / ("broken" if source is broken else "whole"), "qemuarm64")
        if before:
            machine.environment_of(before)
        if expected == ["Affffffff"]:
            assert "fieldgate: slot B" not in machine.boot()
        else:
            assert [machine.start() for _ in expected] == expected


@pytest.mark.parametrize("name", support.MACHINES)
def test_nothing_is_left_to_render(tree, tmp_path, name):
    data = layer.parse(tree, name, tmp_path / "bitbake", "fieldgate-boot")
    prepare(data)
    for file in ("boot.cmd", "fw_env.config"):
        text = (pathlib.Path(data.getVar("B")) / file).read_text()
        assert not re.search(r"@[A-Z_]+@", text), text
    script = (pathlib.Path(data.getVar("B")) / "boot.cmd").read_text()
    wanted = {"qemuall": ("virtio 0:${slot_now_part}", "root=/dev/vda${slot_part}"), "rpi": ("mmc 0:${slot_now_part}", "root=/dev/mmcblk0p${slot_part}")}
    for part in wanted[support.machine_class(name)]:
        assert part in script
