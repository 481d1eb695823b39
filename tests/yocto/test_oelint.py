"""oelint-adv, the linter of recipes, finds no error."""

import json
import sys

import pytest

import support

# Not asked, each for its reason.
SUPPRESSED = (
    "oelint.vars.homepageping",  # needs a network
    "oelint.file.underscores",  # a bundle and an image have the version of the distro
    "oelint.var.mandatoryvar.SRC_URI",  # the bundle and the configuration fetch nothing
    "oelint.vars.inconspaces",  # the form that oe-core's own generator of crate lists writes
    "oelint.vars.specific",  # takes the types of images for packages
)
KNOWN = [
    "RAUC_BUNDLE_FORMAT", "RAUC_BUNDLE_COMPATIBLE", "RAUC_BUNDLE_VERSION", "RAUC_BUNDLE_DESCRIPTION", "RAUC_BUNDLE_BUILD",
    "RAUC_BUNDLE_SLOTS", "RAUC_SLOT_rootfs",
]


def faults(tree, work):
    constants = work / "known.json"
    work.mkdir(parents=True, exist_ok=True)
    constants.write_text(json.dumps({"variables": {"known": KNOWN}}))
    files = sorted(str(file) for file in (tree / support.LAYER).rglob("*.bb*") if file.suffix in (".bb", ".bbappend"))
    command = [sys.executable, "-m", "oelint_adv", f"--constantmods=+{constants}", "--release=wrynose"]
    for rule in SUPPRESSED:
        command.append(f"--suppress={rule}")
    code, output = support.run(command + ["--quiet"] + files, cwd=work)
    lines = [line for line in output.splitlines() if ":error:" in line]
    if code and "[branch:" not in output:
        lines.append(output)
    return lines


def test_linter_finds_no_error(tree, tmp_path):
    assert faults(tree, tmp_path / "work") == []


RECIPES = support.LAYER + "/recipes-fieldgate/fieldgate-config/fieldgate-config_1.0.bb"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('SUMMARY = "Configuration of the broker"\n', "", "oelint.var.mandatoryvar"),
        ('HOMEPAGE = "https://example.invalid/fieldgate"\n', "", "oelint.var.mandatoryvar"),
    ],
)
def test_lint_is_named(broken, tmp_path, old, new, said):
    support.change(broken, RECIPES, old, new)
    found = faults(broken, tmp_path / "work")
    assert any(said in fault for fault in found), found
