"""The kas files are what kas takes, every repository is locked to a commit, and the one of the layer's series."""

import copy
import importlib.resources
import json
import re

import jsonschema
import pytest
import yaml

import support

# What makes another product of a machine: neither takes the updates of the other.
APART = {"debug.yml": "-debug", "k3s.yml": "-k3s"}
MACHINE_FILES = [f"{machine}.yml" for machine in support.MACHINES]


def schema():
    return json.loads((importlib.resources.files("kas") / "schema-kas.json").read_text())


def load(tree):
    return {file.name: yaml.safe_load(file.read_text()) for file in sorted((tree / "yocto/kas").glob("*.yml"))}


def faults(files):
    found = []
    validator = jsonschema.validators.validator_for(schema())(schema())
    for name, text in files.items():
        found += [f"{name}: {error.message}" for error in validator.iter_errors(text)]
        for include in text.get("header", {}).get("includes", []):
            if include.removeprefix("yocto/kas/") not in files:
                found.append(f"{name}: includes {include}, which is not there")
        found += locks(files, name, text)
    for name, end in APART.items():
        lines = [line for text in files[name]["local_conf_header"].values() for line in text.splitlines()]
        if f'FIELDGATE_COMPATIBLE:append = "{end}"' not in lines:
            found.append(f"{name}: devices without it take its updates")
    for name in MACHINE_FILES:
        if name not in files:
            found.append(f"{name} is missing")
        elif files[name].get("machine") != name.removesuffix(".yml"):
            found.append(f"{name} builds another machine")
    return found


def locks(files, name, text):
    """Every repository of a file has its commit in the lock file beside it."""
    found = []
    lock = files.get(name.removesuffix(".yml") + ".lock.yml", {})
    locked = lock.get("overrides", {}).get("repos", {})
    remote = {repo for repo, entry in text.get("repos", {}).items() if "url" in entry}
    if name.endswith(".lock.yml"):
        return found
    for repo in sorted(remote):
        commit = locked.get(repo, {}).get("commit", "")
        if not re.fullmatch("[0-9a-f]{40}", commit):
            found.append(f"{name}: {repo} is locked to no commit")
        if text["repos"][repo].get("branch") not in ("wrynose", "2.18"):
            found.append(f"{name}: {repo} is of another series")
    found += [f"{name}: {repo} is locked and not used" for repo in sorted(locked.keys() - remote)]
    return found


def test_kas_files_are_valid_and_locked(tree):
    assert faults(load(tree)) == []


def without_commit(files):
    del files["fieldgate.lock.yml"]["overrides"]["repos"]["meta-rauc"]


def short_commit(files):
    files["k3s.lock.yml"]["overrides"]["repos"]["meta-openembedded"]["commit"] = "6bf0d8a"


def placeholder(files):
    files["k3s.lock.yml"]["overrides"]["repos"]["meta-virtualization"]["commit"] = "to be filled in"


def unknown_key(files):
    files["qemuarm64.yml"]["machina"] = "qemuarm64"


def newer_format(files):
    files["fieldgate.yml"]["header"]["version"] = 999


def other_machine(files):
    files["raspberrypi2.yml"]["machine"] = "raspberrypi3"


def lost_include(files):
    files["qemuarm.yml"]["header"]["includes"] = ["yocto/kas/base.yml"]


def other_series(files):
    files["fieldgate.yml"]["repos"]["openembedded-core"]["branch"] = "scarthgap"


def root_shell_for_products(files):
    conf = files["debug.yml"]["local_conf_header"]
    conf["debug"] = conf["debug"].replace("FIELDGATE_COMPATIBLE", "# FIELDGATE_COMPATIBLE")


def larger_slots_for_smaller_ones(files):
    conf = files["k3s.yml"]["local_conf_header"]
    conf["k3s"] = conf["k3s"].replace('"-k3s"', '""')


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (without_commit, "meta-rauc is locked to no commit"),
        (short_commit, "meta-openembedded is locked to no commit"),
        (placeholder, "meta-virtualization is locked to no commit"),
        (unknown_key, "'machina' was unexpected"),
        (newer_format, "999"),
        (other_machine, "raspberrypi2.yml builds another machine"),
        (lost_include, "which is not there"),
        (other_series, "openembedded-core is of another series"),
        (root_shell_for_products, "debug.yml: devices without it take its updates"),
        (larger_slots_for_smaller_ones, "k3s.yml: devices without it take its updates"),
    ],
)
def test_wrong_kas_file_is_named(tree, mutation, said):
    files = copy.deepcopy(load(tree))
    mutation(files)
    assert any(said in fault for fault in faults(files)), faults(files)
