"""A gateway in an emulator: a copy of the disk that scripts/image made, its console, its network, and the plug to pull."""

import http.client
import os
import pathlib
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time

import book

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / "target/image"
MIB = 1 << 20
# Where scripts/image puts them.
BOOT_AT = 4 * MIB
COUNTERS_AT = MIB
COUNTERS_SIZE = 512
SLOT = r"fieldgate: slot ([AB]), (\d+) tries left"
# A start takes a minute of one processor; the machine of the tests may have nine others to do beside it.
PATIENCE_S = int(os.environ.get("FIELDGATE_IMAGE_PATIENCE", "1200"))

EMULATORS = {
    "arm64": (["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"], "/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
    "armhf": (["qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"], "/usr/lib/u-boot/qemu_arm/u-boot.bin"),
}


def run(arguments, **options):
    """What was printed; anything but success is a fault of the test."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **options,
    )
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def pieces(disk, start, size):
    """Offset and length of what is no hole between two places of a file."""
    at, end = start, start + size
    while at < end:
        try:
            at = os.lseek(disk.fileno(), at, os.SEEK_DATA)
        except OSError:
            # Nothing but a hole is left.
            return
        hole = min(os.lseek(disk.fileno(), at, os.SEEK_HOLE), end)
        if at < hole:
            yield at, hole - at
        at = hole


def copy_part(source, start, size, made):
    """Part of a file, whose holes stay holes: a card of 64 GB is mostly of them."""
    with open(source, "rb") as disk, open(made, "wb") as part:
        part.truncate(size)
        for at, length in pieces(disk, start, size):
            disk.seek(at)
            part.seek(at - start)
            while length > 0:
                block = disk.read(min(4 * MIB, length))
                part.write(block)
                length -= len(block)


def await_that(what, condition, patience=PATIENCE_S):
    """What `condition` gives as soon as that is something."""
    end = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"in {patience} s not seen: {what}"
        time.sleep(0.3)


def free_ports(count):
    """Below those that the system gives to clients, so that they stay free while a machine is off, and other ones for each process
    of the tests."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20000 + worker % 12 * 1000
    found = []
    for port in random.sample(range(first, first + 1000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


class Data:
    """The data partition of a machine that is off, as its next start finds it: in a copy, whose journal is played back."""

    def __init__(self, machine):
        start, self.partition_size = machine.partitions()["data"]
        self.image = machine.folder / "data.img"
        copy_part(machine.disk, start, self.partition_size, self.image)
        done = subprocess.run(["e2fsck", "-fy", self.image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode <= 2, done.stdout.decode(errors="replace")
        said = run(["dumpe2fs", "-h", self.image])
        number = lambda name: int(re.search(rf"^{name}: +(\d+)$", said, re.M)[1])
        self.block_size = number("Block size")
        self.size = number("Block count") * self.block_size
        self.bytes_of_inode = self.size // number("Inode count")

    def has(self, path):
        return "Inode:" in run(["debugfs", "-R", f"stat {path}", self.image])


class Machine:
    """One device. `start` switches it on; what it has on its disk stays over `cut` and the next `start`."""

    def __init__(self, folder, arch="arm64", debug=False, more_mib=0):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.arch = arch
        self.debug = debug
        self.disk = folder / "disk.img"
        source = IMAGES / ("debug" if debug else "shipped") / f"fieldgate-{arch}.img"
        run(["cp", "--sparse=always", source, self.disk])
        # A card that is larger than the image.
        os.truncate(self.disk, self.disk.stat().st_size + more_mib * MIB)
        self.ports = dict(zip((1883, 8883, 8080), free_ports(3)))
        self.process = None
        self.starts = 0

    # The disk, while the machine is off.

    def put_on_boot(self, files):
        """Files of the boot partition by their names, as somebody writes them who has the card in a reader."""
        image = f"{self.disk}@@{BOOT_AT}"
        for name, content in files.items():
            folder = ""
            for part in pathlib.PurePath(name).parts[:-1]:
                folder += f"/{part}"
                subprocess.run(["mmd", "-D", "s", "-i", image, f"::{folder}"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            source = self.folder / "put"
            source.write_bytes(content if isinstance(content, bytes) else content.encode())
            run(["mcopy", "-o", "-i", image, source, f"::/{name}"])

    def boot_files(self):
        listed = run(["mdir", "-/", "-b", "-i", f"{self.disk}@@{BOOT_AT}", "::/"])
        return {line.removeprefix("::/").rstrip("/") for line in listed.split()}

    def read_from_boot(self, name):
        return run(["mtype", "-i", f"{self.disk}@@{BOOT_AT}", f"::/{name}"])

    def boot_is_clean(self):
        """Whether nobody has the boot partition open for writing, or had when the plug was pulled: FAT16 has a bit for that."""
        with open(self.disk, "rb") as disk:
            disk.seek(BOOT_AT)
            sector = disk.read(512)
        assert sector[54:62] == b"FAT16   "
        return not sector[0x25] & 1

    def partitions(self):
        """Start and size of each in bytes, by its name."""
        found = {}
        for line in run(["sfdisk", "--dump", self.disk]).splitlines():
            place = re.search(r"start=\s*(\d+), size=\s*(\d+).*name=\"(\w+)\"", line)
            if place:
                found[place[3]] = (int(place[1]) * 512, int(place[2]) * 512)
        return found

    def data(self):
        return Data(self)

    def holds(self, partition, text):
        """Whether these bytes are anywhere on a partition, in files or beside them."""
        start, size = self.partitions()[partition]
        with open(self.disk, "rb") as disk:
            for at, length in pieces(disk, start, size):
                # A private key is in one block of the file system, and pieces are of whole ones.
                for place in range(at, at + length, 16 * MIB):
                    disk.seek(place)
                    if text in disk.read(min(16 * MIB, at + length - place)):
                        return True
        return False

    def damage(self, partition, offset, length):
        """What a dying card does: other bytes than were written."""
        start, size = self.partitions()[partition]
        assert offset < size
        with open(self.disk, "r+b") as disk:
            disk.seek(start + offset)
            disk.write(os.urandom(min(length, size - offset)))

    def counters(self):
        """The variables of the boot script."""
        with open(self.disk, "rb") as disk:
            disk.seek(COUNTERS_AT)
            text = disk.read(COUNTERS_SIZE)[4:].split(b"\0\0")[0].decode()
        return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)

    def set_counters(self, **values):
        config = self.folder / "fw_env.config"
        config.write_text(f"{self.disk} {COUNTERS_AT:#x} {COUNTERS_SIZE:#x}\n")
        for name, value in values.items():
            run(["fw_setenv", "-c", config, name, value])

    # The plug.

    def start(self, *options, disk=None):
        """Switches it on. `disk` is a second one, for what an operator brings. Nothing beyond this machine can be reached from it."""
        assert self.process is None, "it is on already"
        self.starts += 1
        self.console_file = self.folder / f"console-{self.starts}.log"
        self.agent_path = self.folder / "agent"
        self.agent_path.unlink(missing_ok=True)
        emulator, firmware = EMULATORS[self.arch]
        forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in self.ports.items())
        command = [
            *emulator, "-m", "512", "-smp", "2", "-accel", "tcg,thread=multi", "-bios", firmware,
            "-drive", f"if=none,id=d0,format=raw,file={self.disk}", "-device", "virtio-blk-device,drive=d0",
            "-netdev", f"user,id=n0,restrict=on,{forwards}", "-device", "virtio-net-device,netdev=n0",
            "-device", "virtio-rng-device",
            "-chardev", f"socket,id=agent,path={self.agent_path},server=on,wait=off",
            "-device", "virtio-serial-device", "-device", "virtconsole,chardev=agent",
            "-display", "none", "-monitor", "none", "-serial", f"file:{self.console_file}", *options,
        ]
        # Devices of this bus are found from the last one on, so the second disk stands before the first.
        if disk:
            at = command.index("-drive")
            command[at:at] = ["-drive", f"if=none,id=d1,format=raw,readonly=on,file={disk}", "-device", "virtio-blk-device,drive=d1"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=open(self.folder / "emulator.log", "a"), stderr=subprocess.STDOUT)
        self.agent = None
        self.seen_starts = 0

    def cut(self):
        """Pulls the plug. What the emulator had written is written, as on a medium that does what it says."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def await_end(self):
        """Waits until the machine has switched itself off."""
        await_that("the machine is off", lambda: self.process.poll() is not None)
        self.process = None

    def remove(self):
        if self.process is not None:
            self.cut()
        if not os.environ.get("FIELDGATE_IMAGE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # The console.

    def console(self):
        return self.console_file.read_text(errors="replace") if self.console_file.exists() else ""

    def await_console(self, pattern, times=1, patience=PATIENCE_S):
        """The last of so many matches."""
        def found():
            assert self.process.poll() is None, f"the emulator ended:\n{(self.folder / 'emulator.log').read_text()}"
            matches = list(re.finditer(pattern, self.console()))
            return matches[times - 1] if len(matches) >= times else None
        try:
            return await_that(f"{pattern!r} on the console", found, patience)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.console()[-6000:]}") from None

    def slots(self):
        """The slots that U-Boot started since the machine was switched on, with the tries that were left."""
        return re.findall(SLOT, self.console())

    def sections(self):
        """What the console showed of each start since the machine was switched on, behind the choice of its slot."""
        return re.split(SLOT, self.console())[3::3]

    def all_slots(self):
        """Those of every start since the machine was made."""
        consoles = (self.folder / f"console-{start}.log" for start in range(1, self.starts + 1))
        return [found for console in consoles for found in re.findall(SLOT, console.read_text(errors="replace"))]

    # The shell of images for tests.

    def shell(self, command, check=True, patience=PATIENCE_S):
        """What a command prints in the machine; with its exit code when that is not to be checked, which is none for a machine
        that started again under it. It is run once."""
        assert self.debug, "only the image for tests has a shell"
        await_that("the shell answers", self.greet, patience)
        token = secrets.token_hex(8)
        code, output = None, ""
        try:
            self.agent.sendall(f"( {command}\n) 2>&1 </dev/null; printf '\\n%s%s %d\\n' {token[:8]} {token[8:]} $?\n".encode())
            output = self.read_until(token + " ", patience)
            ended = self.read_until("\n", 20) if output is not None else None
            code = int(ended) if ended is not None else None
        except OSError:
            self.agent = None
        if not check:
            return code, (output or "").strip("\r\n")
        assert code == 0, f"{command} ended with {code}:\n{output}"
        return output.strip("\r\n")

    def until(self, condition, patience=PATIENCE_S):
        """Waits until a command ends well, over as many starts as it takes."""
        await_that(condition, lambda: self.shell(condition, check=False)[0] == 0, patience)

    def greet(self):
        """Whether the shell is there."""
        assert self.process.poll() is None, f"the emulator ended:\n{(self.folder / 'emulator.log').read_text()}"
        # The mark is put together in the machine, so that an echo of the line is not taken for it.
        hello = secrets.token_hex(8)
        try:
            if self.agent is None:
                self.agent = socket.socket(socket.AF_UNIX)
                self.agent.connect(str(self.agent_path))
            self.agent.sendall(f"stty -echo -onlcr; PS1=; PS2=; printf '%s%s\\n' {hello[:8]} {hello[8:]}\n".encode())
            self.seen_starts = self.console().count("U-Boot ")
            return self.read_until(hello, 20) is not None
        except OSError:
            self.agent = None
            return False

    def read_until(self, mark, patience):
        end, text = time.monotonic() + patience, b""
        self.agent.settimeout(1)
        while time.monotonic() < end:
            try:
                byte = self.agent.recv(1)
            except TimeoutError:
                if self.process.poll() is not None or self.restarted():
                    return None
                continue
            if not byte:
                self.agent = None
                return None
            text += byte
            if text.endswith(mark.encode()):
                return text[: -len(mark)].decode(errors="replace")
        return None

    def restarted(self):
        """Whether U-Boot has come by since the shell said hello: who waits for an answer of the start before waits in vain."""
        return self.console().count("U-Boot ") > self.seen_starts

    # What is seen from outside.

    def await_serving(self, patience=PATIENCE_S):
        """Waits until it serves by TLS, and gives the root, fetched as a device fetches it."""
        file = self.folder / "ca.crt"

        def serves():
            assert self.process.poll() is None, f"the emulator ended:\n{(self.folder / 'emulator.log').read_text()}"
            try:
                book.fetch_root(self, file)
                book.round_trip(self, file)
            except (OSError, TimeoutError, ValueError, http.client.HTTPException):
                return False
            return True

        try:
            await_that("it serves by TLS", serves, patience)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.console()[-6000:]}") from None
        return file
