"""BitBake reads every recipe of the layer for every machine, finds its files, and is given the values that it needs."""

import os
import re

import pytest

import layer
import support

LICENSES = {"MIT | Apache-2.0"}


def faults(tree, work, machines=support.MACHINES):
    found = []
    for machine in machines:
        try:
            parsed = layer.recipes(tree, machine, work / machine)
        except Exception as error:  # whatever BitBake throws is what it has to say
            found.append(f"{machine}: {type(error).__name__}: {error}")
            continue
        found += [f"{machine}: {complaint}" for complaint in layer.COMPLAINTS]
        for name, data in parsed.items():
            found += [f"{machine}: {name}: {fault}" for fault in recipe_faults(tree, name, data)]
    return found


def recipe_faults(tree, name, data):
    found = []
    for url, fetched in layer.bb.fetch2.Fetch((data.getVar("SRC_URI") or "").split(), data).ud.items():
        fetched.setup_localpath(data)
        if fetched.type == "file" and not os.path.exists(fetched.localpath):
            found.append(f"{url} is not in the layer")
        elif fetched.type == "crate" and len(fetched.sha256_expected or "") != 64:
            found.append(f"{url} has no checksum")
        elif fetched.type not in ("file", "crate"):
            found.append(f"{url} needs a network at every build")
    if str(tree / support.LAYER) in data.getVar("FILE"):
        for variable in ("SUMMARY", "HOMEPAGE", "SECTION"):
            if not data.getVar(variable):
                found.append(f"{variable} is not set")
        if data.getVar("LICENSE") not in LICENSES:
            found.append(f"LICENSE is {data.getVar('LICENSE')}")
    for key in data.keys():
        if key.startswith("FIELDGATE_") and "@" not in key and re.search(r"\$\{FIELDGATE_", data.getVar(key) or ""):
            found.append(f"{key} refers to something that is not set: {data.getVar(key)}")
    return found


def test_every_recipe_parses_for_every_machine(tree, tmp_path):
    assert faults(tree, tmp_path) == []


RECIPES = support.LAYER + "/recipes-fieldgate/fieldgate"


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (f"{RECIPES}/fieldgate_0.1.0.bb", "fieldgate-crates.inc", "fieldgate-crate.inc", "fieldgate-crate.inc"),
        (f"{RECIPES}/fieldgate.inc", "inherit cargo ", "inherit cargoo ", "cargoo"),
        (f"{RECIPES}/fieldgate.inc", 'LICENSE = "MIT | Apache-2.0"', 'LICENSE = "CLOSED"', "LICENSE is CLOSED"),
        (f"{RECIPES}/fieldgate.inc", "do_install:append() {", "do_install:append() {{{", "ParseError"),
        (f"{RECIPES}/fieldgate-crates.inc", "SRC_URI[tokio-1", "SRC_URI[tokyo-1", "has no checksum"),
        (
            support.LAYER + "/recipes-bsp/fieldgate-boot/fieldgate-boot_1.0.bb",
            "file://boot.cmd.in", "file://start.cmd.in", "file://start.cmd.in is not in the layer",
        ),
        (
            support.LAYER + "/recipes-bsp/u-boot/u-boot_%.bbappend",
            ":fieldgate-os := \"${THISDIR}/files:\"", ":fieldgate-os := \"${THISDIR}/fragments:\"", "fieldgate.cfg is not in the layer",
        ),
        (support.LAYER + "/conf/distro/fieldgate-os.conf", 'FIELDGATE_TRIES = "3"', 'FIELDGATE_TRIES = "${FIELDGATE_NUMBER}"', "refers to something"),
        (support.LAYER + "/conf/distro/fieldgate-os.conf", 'INIT_MANAGER = "systemd"', "INIT_MANAGER systemd", "ParseError"),
        (
            f"{support.LAYER}/dynamic-layers/virtualization-layer/recipes-core/fieldgate-k3s/fieldgate-k3s_1.0.bb",
            "file://var-lib-rancher.mount", "https://example.invalid/var-lib-rancher.mount", "needs a network at every build",
        ),
    ],
)
def test_broken_layer_is_named(broken, tmp_path, path, old, new, said):
    support.change(broken, path, old, new)
    found = faults(broken, tmp_path / "work", ("qemuarm64",))
    assert any(said in fault for fault in found), found
