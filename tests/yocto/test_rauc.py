"""Bundles as the recipe makes them: the one of the product is accepted, and no other."""

import pathlib
import random
import re

import pytest

import layer
import support

SYSTEM = support.LAYER + "/recipes-core/rauc/files/system.conf"
BUNDLE = support.LAYER + "/recipes-core/bundles/fieldgate-bundle.bb"


def done(arguments, **options):
    code, output = support.run(arguments, **options)
    assert code == 0, f"{arguments}: {output}"
    return output


@pytest.fixture(scope="session")
def authorities(tmp_path_factory):
    """Two authorities, made by the script that makes those of the bench."""
    folder = tmp_path_factory.mktemp("authorities")
    for name in ("own", "foreign"):
        done([support.ROOT / "yocto/scripts/dev-ca", folder / name])
    return folder


def make_bundle(tree, work, authority, machine="qemuarm64", compatible=None):
    """What the class `bundle` of meta-rauc makes of the variables of the recipe."""
    data = layer.parse(tree, machine, work / f"bitbake-{machine}", "fieldgate-bundle")
    content = work / "content"
    content.mkdir(parents=True)
    (content / "rootfs.ext4").write_bytes(random.Random(1).randbytes(1 << 17))
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={compatible or data.getVar('RAUC_BUNDLE_COMPATIBLE')}\nversion={data.getVar('RAUC_BUNDLE_VERSION')}\n"
        f"build={data.getVar('RAUC_BUNDLE_BUILD')}\n[bundle]\nformat={data.getVar('RAUC_BUNDLE_FORMAT')}\n"
        f"[image.{data.getVar('RAUC_BUNDLE_SLOTS')}]\nfilename=rootfs.ext4\n"
    )
    bundle = work / "update.raucb"
    done(["rauc", "bundle", f"--cert={authority}/signer.cert.pem", f"--key={authority}/signer.key.pem", content, bundle])
    return bundle


def info(bundle, authority, *arguments):
    return support.run(["rauc", "info", f"--keyring={authority}/ca.cert.pem", *arguments, bundle])


def test_own_bundle_is_accepted(tree, tmp_path, authorities):
    bundle = make_bundle(tree, tmp_path, authorities / "own")
    code, output = info(bundle, authorities / "own")
    assert code == 0, output
    assert "Bundle Format: \tverity" in output and "'fieldgate-qemuarm64'" in output, output
    done(["rauc", "extract", f"--keyring={authorities}/own/ca.cert.pem", bundle, tmp_path / "extracted"])
    assert (tmp_path / "extracted/rootfs.ext4").read_bytes() == (tmp_path / "content/rootfs.ext4").read_bytes()


def test_foreign_bundle_is_refused(tree, tmp_path, authorities):
    code, output = info(make_bundle(tree, tmp_path, authorities / "foreign"), authorities / "own")
    assert code != 0 and "signature verification failed" in output.lower(), output


def test_unsigned_bundle_is_refused(tree, tmp_path, authorities):
    bundle = make_bundle(tree, tmp_path, authorities / "own")
    raw = bundle.read_bytes()
    signature = int.from_bytes(raw[-8:], "big")
    bundle.write_bytes(raw[: -8 - signature])
    code, output = info(bundle, authorities / "own")
    assert code != 0, output


@pytest.mark.parametrize("place", [100, 20_000])
def test_changed_payload_is_refused(tree, tmp_path, authorities, place):
    bundle = make_bundle(tree, tmp_path, authorities / "own")
    raw = bytearray(bundle.read_bytes())
    raw[min(place, len(raw) // 2)] ^= 1
    bundle.write_bytes(raw)
    code, output = support.run(["rauc", "extract", f"--keyring={authorities}/own/ca.cert.pem", bundle, tmp_path / "extracted"])
    assert code != 0, output


def test_changed_signature_is_refused(tree, tmp_path, authorities):
    bundle = make_bundle(tree, tmp_path, authorities / "own")
    raw = bytearray(bundle.read_bytes())
    raw[-200] ^= 1
    bundle.write_bytes(raw)
    code, output = info(bundle, authorities / "own")
    assert code != 0, output


def configuration(tree, work, machine):
    """system.conf as the image has it."""
    data = layer.parse(tree, machine, work / machine, "rauc-conf")
    unpacked = pathlib.Path(data.getVar("UNPACKDIR"))
    unpacked.mkdir(parents=True)
    for fetched in layer.bb.fetch2.Fetch(data.getVar("SRC_URI").split(), data).ud.values():
        fetched.setup_localpath(data)
        (unpacked / pathlib.Path(fetched.localpath).name).write_bytes(pathlib.Path(fetched.localpath).read_bytes())
    code, output = support.run(["sh", "-c", layer.shell_script(data, "do_install")])
    return (pathlib.Path(data.getVar("D")) / "usr/lib/rauc/system.conf").read_text(), output if code == 0 else f"ended with {code}: {output}"


def faults(tree, work):
    """Each machine takes bundles of its own kind and of nothing else, and knows slots that are in its disk."""
    found = []
    compatibles = set()
    for machine in support.MACHINES:
        text, output = configuration(tree, work, machine)
        found += [f"{machine}: {line}" for line in output.splitlines()]
        if "@" in text:
            found.append(f"{machine}: system.conf is not rendered")
        prefix = {"qemuall": "/dev/vda", "rpi": "/dev/mmcblk0p"}[support.machine_class(machine)]
        devices = re.findall(r"^device=(.*)$", text, re.M)
        if devices != [prefix + "2", prefix + "3"]:
            found.append(f"{machine}: slots are {devices}")
        if "bundle-formats=-plain" not in text:
            found.append(f"{machine}: bundles without verity are taken")
        if not re.search(r"^data-directory=/data/", text, re.M):
            found.append(f"{machine}: the state of the slots is lost with a slot")
        compatible = re.search(r"^compatible=(.*)$", text, re.M)[1]
        compatibles.add(compatible)
        bundle = layer.parse(tree, machine, work / f"bundle-{machine}", "fieldgate-bundle")
        if bundle.getVar("RAUC_BUNDLE_COMPATIBLE") != compatible:
            found.append(f"{machine}: its bundle is for {bundle.getVar('RAUC_BUNDLE_COMPATIBLE')}, it is {compatible}")
        if bundle.getVar("RAUC_BUNDLE_FORMAT") != "verity":
            found.append(f"{machine}: its bundle is {bundle.getVar('RAUC_BUNDLE_FORMAT')}")
        if not bundle.getVar("RAUC_BUNDLE_BUILD").isdigit():
            found.append(f"{machine}: its bundle has the time of day in it")
    if len(compatibles) != len(support.MACHINES):
        found.append(f"machines take the bundles of each other: {sorted(compatibles)}")
    return found


def test_configuration_fits_bundles_and_disk(tree, tmp_path):
    assert faults(tree, tmp_path) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (SYSTEM, "device=@PARTITION@3", "device=@PARTITION@2", "slots are"),
        (SYSTEM, "bundle-formats=-plain\n", "", "bundles without verity are taken"),
        (SYSTEM, "data-directory=/data/rauc", "data-directory=/var/lib/rauc", "lost with a slot"),
        (SYSTEM, "compatible=@COMPATIBLE@", "compatible=fieldgate", "machines take the bundles of each other"),
        (BUNDLE, '"verity"', '"plain"', "its bundle is plain"),
        (BUNDLE, '"${SOURCE_DATE_EPOCH}"', '"${DATETIME}"', "the time of day"),
        (support.LAYER + "/recipes-core/rauc/rauc-conf.bbappend", "s!@PARTITION@!", "s!@PARTITIONS@!", "is not rendered"),
    ],
)
def test_broken_configuration_is_named(broken, tmp_path, path, old, new, said):
    support.change(broken, path, old, new)
    found = faults(broken, tmp_path / "work")
    assert any(said in fault for fault in found), found


def test_keyring_of_the_bench_is_warned_of(tree, tmp_path, authorities):
    settings = {"RAUC_KEYRING_FILE": "ca.cert.pem", "RAUC_KEYRING_URI": f"file://{authorities}/own/ca.cert.pem"}
    data = layer.parse(tree, "qemuarm64", tmp_path, "rauc-conf", settings)
    unpacked = pathlib.Path(data.getVar("UNPACKDIR"))
    unpacked.mkdir(parents=True)
    (unpacked / "ca.cert.pem").write_bytes((authorities / "own/ca.cert.pem").read_bytes())
    (unpacked / "system.conf").write_bytes((tree / SYSTEM).read_bytes())
    code, output = support.run(["sh", "-c", layer.shell_script(data, "do_install")])
    assert code == 0 and "WARNING: Devices will accept bundles of a development CA" in output, output


def test_signer_of_the_bench_is_warned_of(tree, tmp_path, authorities):
    data = layer.parse(tree, "qemuarm64", tmp_path, "fieldgate-bundle", {"RAUC_CERT_FILE": f"{authorities}/own/signer.cert.pem"})
    code, output = support.run(["sh", "-c", layer.shell_script(data, "do_bundle")])
    assert code == 0 and "WARNING: This bundle is signed by a development CA" in output, output


def test_keys_of_the_bench_stay_out_of_the_checkout(tree):
    code, output = support.run([tree / "yocto/scripts/dev-ca", tree / "yocto/keys"])
    assert code == 64 and "do not belong into the checkout" in output and not (tree / "yocto/keys").exists()
