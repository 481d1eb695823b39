"""What holds of the layer without building anything: its papers, its disk, its secrets, which it has none of, and its scripts."""

import pathlib
import re
import shlex

import pytest

import layer
import support

MIB = 1 << 20
# From here on there are partitions; below are their table and the counters of U-Boot.
FIRST_PARTITION = 4 * MIB
WKS = support.LAYER + "/files/wic/fieldgate-ab.wks.in"
DISTRO = support.LAYER + "/conf/distro/fieldgate-os.conf"
FLASH = support.LAYER + "/recipes-bsp/u-boot/files/fieldgate-flash.cfg"
MMC = support.LAYER + "/recipes-bsp/u-boot/files/fieldgate-mmc.cfg"

SECRET = re.compile(r"PRIVATE KEY-----|^machine .* password |BEGIN PGP PRIVATE|AKIA[0-9A-Z]{16}", re.M)


def papers(tree):
    """What yocto-check-layer asks of a layer."""
    folder = tree / support.LAYER
    found = []
    readme = (folder / "README.md").read_text() if (folder / "README.md").exists() else ""
    for word in ("Maintainer", "Patches", "@"):
        if word not in readme:
            found.append(f"README.md does not say {word}")
    for name in ("SECURITY.md", "COPYING.MIT"):
        if not (folder / name).exists():
            found.append(f"{name} is missing")
    if (folder / "conf/machine").exists():
        found.append("a layer with a distro brings no machines")
    conf = (folder / "conf/layer.conf").read_text()
    if 'LAYERSERIES_COMPAT_fieldgate = "wrynose"' not in conf:
        found.append("layer.conf is not for wrynose alone")
    if not re.search(r'^LAYERDEPENDS_fieldgate = "core rauc"$', conf, re.M):
        found.append("layer.conf does not depend on what it needs alone")
    for append in folder.rglob("*.bbappend"):
        for line in append.read_text().splitlines():
            assigned = re.match(r"[A-Z_]+(\[\w+\])?(:\w+)*\s*[:+.?]*=|do_\w+(:\w+)*\(\)", line)
            if assigned and ":fieldgate-os" not in line and "[vardeps]" not in line:
                found.append(f"{append.name} changes builds of others: {line}")
    for recipe in (tree / "yocto").rglob("*.bb*"):
        if re.search(r"\$\{WORKDIR\}/(?!build)", recipe.read_text()):
            found.append(f"{recipe.name} looks for sources in WORKDIR")
        if "AUTOREV" in recipe.read_text():
            found.append(f"{recipe.name} builds whatever is newest")
    return found


def secrets(tree):
    found = []
    for file in (tree / "yocto").rglob("*"):
        if file.is_file() and SECRET.search(file.read_text(errors="replace")):
            found.append(f"{file.relative_to(tree)} has a secret in it")
        if file.suffix in (".pem", ".key", ".crt", ".p12"):
            found.append(f"{file.relative_to(tree)} is a key or a certificate")
    return found


def ids(tree):
    """Users and groups have the numbers of the tables, each once."""
    found = []
    for name in ("fieldgate-passwd", "fieldgate-group"):
        numbers = [line.split(":")[2] for line in (tree / support.LAYER / "files" / name).read_text().splitlines()]
        if len(numbers) != len(set(numbers)):
            found.append(f"{name} gives a number twice")
    return found


def partitions(data):
    """The lines of the wks, as wic would see them."""
    text = data.expand((pathlib.Path(data.getVar("TREE")) / WKS).read_text())
    lines = [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]
    table = next(line[line.index("--ptable") + 1] for line in lines if line[0] == "bootloader")
    parts = []
    for line in lines:
        if line[0] == "part":
            # A value that begins with a hyphen is joined to its name.
            words = [word for option in line for word in (option.split("=", 1) if option.startswith("--") else [option])]
            parts.append({key.removeprefix("--"): value for key, value in zip(words, words[1:]) if key.startswith("--")})
    return table, parts


def disk(tree, work):
    """The disk, system.conf, the mounts, U-Boot and fw_env.config speak of the same places."""
    found = []
    mount = (tree / "systemd/appliance/data.mount").read_text()
    for machine in support.MACHINES:
        data = layer.parse(tree, machine, work / machine, "fieldgate-image")
        data.setVar("TREE", str(tree))
        table, parts = partitions(data)
        tell = lambda text: found.append(f"{machine}: {text}")
        if [part.get("part-name") for part in parts] != ["boot", "root_a", "root_b", "data"]:
            tell("partitions are not boot, A, B and data in this order")
            continue
        if table != ("gpt" if support.machine_class(machine) == "qemuall" else "msdos"):
            tell(f"the table is {table}")
        boot, first, second, last = parts
        if first.get("fixed-size") != second.get("fixed-size"):
            tell("the slots differ in size")
        if first.get("sourceparams") != second.get("sourceparams") or first.get("source") != "rawcopy":
            tell("the slots do not hold the same bytes")
        if int(data.getVar("IMAGE_ROOTFS_MAXSIZE")) * 1024 > int(first["fixed-size"].removesuffix("M")) * MIB:
            tell("an image that does not fit a slot would be built")
        if any(part.get("ondisk") != data.getVar("FIELDGATE_DISK") or part.get("align") != "4096" for part in parts):
            tell("a partition is on another disk, or not aligned")
        if last.get("label") != "data" or f"What=/dev/disk/by-label/{last.get('label')}" not in mount:
            tell("data.mount looks for another label")
        if last.get("mkfs-extraopts") != data.getVar("FIELDGATE_DATA_FORMAT"):
            tell("the data partition is not made as it is made again")
        total = sum(int(part["fixed-size"].removesuffix("M")) for part in parts)
        if total > 3500:
            tell(f"the image of {total} MiB does not fit a card of 4 GB")
        found += [f"{machine}: {fault}" for fault in environment(tree, data, machine)]
    return found


def environment(tree, data, machine):
    """The counters are where U-Boot, Linux and the disk agree that they are."""
    flash = support.machine_class(machine) == "qemuall"
    settings = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", (tree / (FLASH if flash else MMC)).read_text(), re.M))
    names = ("CONFIG_ENV_ADDR", "CONFIG_ENV_ADDR_REDUND") if flash else ("CONFIG_ENV_OFFSET", "CONFIG_ENV_OFFSET_REDUND")
    found = []
    pairs = {names[0]: "FIELDGATE_ENV_OFFSET", names[1]: "FIELDGATE_ENV_OFFSET_REDUND", "CONFIG_ENV_SIZE": "FIELDGATE_ENV_SIZE"}
    for setting, variable in pairs.items():
        if settings.get(setting) != data.getVar(variable):
            found.append(f"{setting} is {settings.get(setting)} for U-Boot and {data.getVar(variable)} for Linux")
    first, second, size = (int(data.getVar(variable), 16) for variable in pairs.values())
    if not first + size <= second:
        found.append("the two copies of the counters overlap")
    if not flash and not (MIB <= first and second + size <= FIRST_PARTITION):
        found.append("the counters are not between the table and the first partition")
    return found


def scripts(tree):
    """What shellcheck has to say."""
    files = [tree / "yocto/scripts/dev-ca", *sorted((tree / "systemd/appliance/libexec").iterdir())]
    code, output = support.run(["shellcheck", "--format=gcc", *files])
    return output.splitlines() if code else []


def faults(tree, work):
    return papers(tree) + secrets(tree) + ids(tree) + disk(tree, work) + scripts(tree)


def test_layer_is_in_order(tree, tmp_path):
    assert faults(tree, tmp_path) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (support.LAYER + "/README.md", "Maintainer", "Author", "README.md does not say Maintainer"),
        (support.LAYER + "/conf/layer.conf", '"wrynose"', '"scarthgap wrynose"', "not for wrynose alone"),
        (
            support.LAYER + "/recipes-bsp/u-boot/u-boot_%.bbappend",
            "SRC_URI:append:fieldgate-os", "SRC_URI:append", "changes builds of others",
        ),
        (
            support.LAYER + "/recipes-fieldgate/fieldgate-config/fieldgate-config_1.0.bb",
            "S = \"${UNPACKDIR}\"", 'S = "${WORKDIR}/sources"', "looks for sources in WORKDIR",
        ),
        (
            support.LAYER + "/classes-recipe/fieldgate_source.bbclass",
            "# Nothing is left", "# -----BEGIN EC PRIVATE KEY-----\n# Nothing is left", "has a secret in it",
        ),
        (support.LAYER + "/files/fieldgate-passwd", "messagebus:x:901", "messagebus:x:900", "gives a number twice"),
        (WKS, "--part-name root_b", "--part-name root_c", "partitions are not boot, A, B and data"),
        (WKS, "--part-name root_b --align 4096 --fixed-size ${FIELDGATE_SLOT_SIZE_MB}M", "--part-name root_b --align 4096 --fixed-size 64M", "differ in size"),
        (WKS, "--label data", "--label user", "looks for another label"),
        (WKS, ' --mkfs-extraopts="${FIELDGATE_DATA_FORMAT}"', "", "is not made as it is made again"),
        (WKS, "${IMAGE_LINK_NAME}.ext4\" --ondisk ${FIELDGATE_DISK} --fstype=ext4 --part-name root_b", "other.ext4\" --ondisk ${FIELDGATE_DISK} --fstype=ext4 --part-name root_b", "do not hold the same bytes"),
        (WKS, "--source rawcopy", "--source rootfs", "do not hold the same bytes"),
        (DISTRO, 'FIELDGATE_PTABLE:rpi = "msdos"', 'FIELDGATE_PTABLE:rpi = "gpt"', "the table is gpt"),
        (DISTRO, 'FIELDGATE_SLOT_SIZE_MB ??= "768"', 'FIELDGATE_SLOT_SIZE_MB ??= "1792"', "does not fit a card"),
        (DISTRO, 'FIELDGATE_ENV_OFFSET:rpi = "0x100000"', 'FIELDGATE_ENV_OFFSET:rpi = "0x200000"', "overlap"),
        (MMC, "CONFIG_ENV_OFFSET=0x100000", "CONFIG_ENV_OFFSET=0x110000", "CONFIG_ENV_OFFSET is 0x110000 for U-Boot and 0x100000 for Linux"),
        (FLASH, "CONFIG_ENV_ADDR_REDUND=0x4040000", "CONFIG_ENV_ADDR_REDUND=0x4080000", "CONFIG_ENV_ADDR_REDUND"),
        ("systemd/appliance/data.mount", "by-label/data", "by-label/user", "looks for another label"),
        ("systemd/appliance/libexec/first-boot", 'rm -rf "$HOME_DIR/.etc.new"', "rm -rf $HOME_DIR/.etc.new", "SC2086"),
    ],
)
def test_disorder_is_named(broken, tmp_path, path, old, new, said):
    support.change(broken, path, old, new)
    found = faults(broken, tmp_path / "work")
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(
    ("name", "said"),
    [("conf/machine/own.conf", "brings no machines"), ("files/release.key", "is a key or a certificate")],
)
def test_what_does_not_belong_is_named(broken, tmp_path, name, said):
    file = broken / support.LAYER / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n")
    found = faults(broken, tmp_path / "work")
    assert any(said in fault for fault in found), found
