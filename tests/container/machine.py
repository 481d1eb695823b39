"""podman, and the resources that ship, as far as it understands them."""

import pathlib
import shutil
import subprocess
import tempfile
import time
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
IMAGES = ROOT / "target/oci"
NAME = f"localhost/fieldgate:{VERSION}"
CONTAINER = "fieldgate-pod-0-fieldgate"


def run(command, *, check=True, text=None, **more):
    """Exit code and everything that was said."""
    done = subprocess.run(
        [str(word) for word in command], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **more
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(str(word) for word in command)} ended with {done.returncode}:\n{done.stdout}")
    return done.returncode, done.stdout


def until(condition, what, seconds=60):
    """Waits for something that another process does."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.2)


class Podman:
    """Images, containers and volumes in a folder of their own."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fieldgate-podman-"))
        self.options = [
            "podman", "--root", self.folder / "storage", "--runroot", self.folder / "run", "--storage-driver", "vfs",
            "--cgroup-manager", "cgroupfs", "--runtime", "runc", "--events-backend", "file",
        ]

    def __call__(self, *words, check=True, text=None):
        return run([*self.options, *words], check=check, text=text)

    def remove(self):
        self("pod", "rm", "--all", "--force", "--time", "5", check=False)
        self("rm", "--all", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def resources(path=ROOT / "k3s/fieldgate.yaml"):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def write(folder, name, documents):
    path = folder / name
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path
