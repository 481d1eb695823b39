"""A small Debian in a folder, with the package installed in it, booted in a container."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = ROOT / f"tests/.tools/debian-{os.environ['FIELDGATE_DEBIAN']}-amd64.tar"
PACKAGES = ROOT / "target/appliance"
SCRATCH = ROOT / "target/tmp"
# Long enough for a machine that compiles beside the tests.
PATIENCE_S = 90
# Exit code of a container that asks to be started again.
STARTS_AGAIN = 133


def package(name="fieldgate"):
    return next(PACKAGES.glob(f"{name}_*_amd64.deb"))


def run(arguments, check=True, **options):
    """Exit code and everything that was printed."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}")
    return done.returncode, done.stdout


def await_that(what, condition):
    """What `condition` gives as soon as that is something."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"in {PATIENCE_S} s not seen: {what}")
        time.sleep(0.2)


def is_first(process):
    """Whether it has number 1 in a space of its own."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(numbers) > 1 and numbers[-1] == "1"


class Machine:
    """One machine. It is a folder until it is booted; `enter` then runs commands inside."""

    def __init__(self, install=True):
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fieldgate-machine-", dir=SCRATCH))
        self.root = self.folder / "root"
        self.root.mkdir()
        self.process = None
        run(["tar", "-xf", SYSTEM, "-C", self.root])
        self.write("etc/machine-id", "")
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        # The journal is read after the machine has gone.
        (self.root / "var/log/journal").mkdir(exist_ok=True)
        if install:
            self.install()

    def install(self):
        shutil.copy(package(), self.root / "package.deb")
        return self.chroot("dpkg", "--install", "/package.deb")

    def chroot(self, *command, check=True):
        """A command in the folder, as when an image is made: nothing runs, and /proc is not there."""
        return run(["chroot", self.root, *command], check)

    def path(self, name):
        return self.root / name

    def systemd_version(self):
        return int(self.chroot("systemctl", "--version")[1].split()[1])

    def write(self, name, text, mode=0o644):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def drop_in(self, unit, text):
        self.write(f"etc/systemd/system/{unit}.d/90-test.conf", text)

    def boot(self, *command_line, options=()):
        """Starts it with words for its kernel, and waits until it is up."""
        self.start(*command_line, options=options)
        await_that("the machine is up", self.is_up)

    def start(self, *command_line, options=()):
        self.log = open(self.folder / "console.log", "w")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe",
             # Not with a hyphen, which no name may end in.
             f"--machine={self.folder.name.replace('_', '0')}", f"--directory={self.root}", *options, "--boot", *command_line],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
        )

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the container ended with {self.process.returncode}:\n{(self.folder / 'console.log').read_text()}")
        return self.enter("systemctl", "is-system-running", check=False)[1].strip() in ("running", "degraded")

    def leader(self):
        """The first process of the machine, by its number outside; none while it starts or starts again."""
        try:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            # Before the first process there is one that prepares its place, and still sees this machine's own service manager.
            return next((child for child in children if is_first(child)), None)
        except (FileNotFoundError, ProcessLookupError):
            return None

    def enter(self, *command, check=True):
        leader = self.leader()
        if leader is None:
            if check:
                raise AssertionError(f"the machine starts again, or ends, before {command}")
            return 1, "the machine starts again"
        return run(["nsenter", "--target", leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", *command], check)

    def property(self, unit, name):
        return self.enter("systemctl", "show", "--property", name, "--value", unit)[1].strip()

    def journal(self, *match):
        """Entries of the journal, those of the present while the machine runs."""
        command = ["journalctl", "--output=json", "--all", "--no-pager", *match]
        if self.process is None:
            _, text = run([*command, f"--directory={self.path('var/log/journal')}"])
        else:
            _, text = self.enter(*command)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def says(self, text, *match):
        return any(text in str(entry.get("MESSAGE")) for entry in self.journal(*match))

    def power_off(self):
        """Exit code of the container."""
        self.enter("systemctl", "--no-block", "poweroff", check=False)
        return self.ended()

    def ended(self):
        """Exit code of a container that ends by itself."""
        code = self.process.wait(PATIENCE_S)
        self.process = None
        self.log.close()
        return code

    def remove(self):
        if self.process is not None:
            leader = self.leader()
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                if leader is not None:
                    run(["kill", "-KILL", leader], check=False)
                self.process.kill()
                self.process.wait()
            self.log.close()
        shutil.rmtree(self.folder)
