"""podman, and the resources that ship, as far as it understands them."""

import json
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
# As podman 4 calls them.
POD = "fieldgate-pod-0"
CONTAINER = f"{POD}-fieldgate"
NETWORK = "gateway"
SUBNET = "10.89.77.0/24"
# This machine in it.
MACHINE = "10.89.77.1"


def run(command, *, check=True, text=None, **more):
    """Exit code and everything that was said."""
    done = subprocess.run(
        [str(word) for word in command], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, **more
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
            "--network-config-dir", self.folder / "networks",
        ]
        self("network", "create", "--subnet", SUBNET, NETWORK)

    def __call__(self, *words, check=True, text=None):
        return run([*self.options, *words], check=check, text=text)

    def load(self):
        self("load", "--input", IMAGES / f"fieldgate-{VERSION}-amd64.tar")

    def play(self, documents):
        """Starts a gateway from its resources, as many of them as podman knows, and waits until it serves."""
        kept = [document for document in documents if document["kind"] == "PersistentVolumeClaim"]
        workload = [document for document in documents if document["kind"] in ("ConfigMap", "Deployment")]
        assert [document["kind"] for document in workload].count("Deployment") == 1
        self.deployment = write(self.folder, "deployment.yaml", workload)
        # A claim of its own: podman 4 refuses one that it has made before.
        self("kube", "play", write(self.folder, "claim.yaml", kept))
        self.start()

    def start(self):
        self("kube", "play", "--network", NETWORK, self.deployment)
        until(lambda: self.inside("health", "--ready", "--runtime-dir", "/run/fieldgate", check=False)[0] == 0, "readiness")

    def stop(self):
        self("kube", "down", self.deployment)

    def inside(self, *words, check=True, text=None):
        """A command of the gateway in its container."""
        options = ["--interactive"] if text is not None else []
        return self("exec", *options, CONTAINER, "/fieldgate", *words, check=check, text=text)

    def address(self):
        """Where the ports of the pod are."""
        pod = json.loads(self("pod", "inspect", POD)[1])
        networks = json.loads(self("inspect", pod["InfraContainerID"])[1])[0]["NetworkSettings"]["Networks"]
        return next(iter(networks.values()))["IPAddress"]

    def remove(self):
        self("pod", "rm", "--all", "--force", "--time", "5", check=False)
        self("rm", "--all", "--force", check=False)
        # The plug-ins of CNI leave a bridge, whose addresses the next network could not have.
        self("network", "rm", "--force", NETWORK, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def resources(path=ROOT / "k3s/fieldgate.yaml"):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def write(folder, name, documents):
    path = folder / name
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path
