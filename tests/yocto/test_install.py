"""do_install of the recipes, run for real: the tree is what the packages have and what is written down, and systemd takes the
units."""

import os
import pathlib
import re
import shutil

import pytest

import layer
import support

GOLDEN = support.ROOT / "tests/yocto/golden/image-tree.txt"
RECIPES = ("fieldgate", "fieldgate-config", "fieldgate-appliance", "fieldgate-boot", "rauc-conf", "fieldgate-k3s")
# What systemd looks for that other recipes bring.
PROGRAMS = ("/bin/mkdir", "/sbin/fsck", "/usr/lib/systemd/systemd-growfs", "/usr/lib/systemd/systemd-fsck")
EXPOSURE_MAX = 1.5


def install(tree, work, machine="qemuarm64"):
    """The root that the recipes make together, and what is wrong with how they make it."""
    root = work / "root"
    root.mkdir(parents=True)
    found = []
    for name, data in layer.recipes(tree, machine, work / "bitbake", {"FIELDGATE_SOURCE": str(tree)}).items():
        if name not in RECIPES:
            continue
        image = pathlib.Path(data.getVar("D"))
        prepare(data)
        script = layer.shell_script(data, "do_install")
        image.mkdir(parents=True)
        code, output = support.run(["sh", "-c", script], cwd=data.getVar("B"))
        found += [f"{name}: {line}" for line in output.splitlines()]
        if code != 0:
            found.append(f"{name}: do_install ended with {code}")
            continue
        found += [f"{name}: {path} is installed and not shipped" for path in not_shipped(data, image)]
        shutil.copytree(image, root, symlinks=True, dirs_exist_ok=True)
    return root, found


def prepare(data):
    """What the tasks before do_install leave."""
    unpacked = pathlib.Path(data.getVar("UNPACKDIR"))
    for folder in ("UNPACKDIR", "B"):
        pathlib.Path(data.getVar(folder)).mkdir(parents=True, exist_ok=True)
    for fetched in layer.bb.fetch2.Fetch((data.getVar("SRC_URI") or "").split(), data).ud.values():
        if fetched.type == "file":
            fetched.setup_localpath(data)
            shutil.copy(fetched.localpath, unpacked / pathlib.Path(fetched.localpath).name)
    if data.getVar("do_render", False):
        layer.execute_python(data, "do_render")
    program = pathlib.Path(data.getVar("B")) / "target/release/fieldgate"
    if data.getVar("cargo_do_install"):
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")


def not_shipped(data, image):
    """As the QA of OpenEmbedded, installed-vs-shipped."""
    shipped = data.getVar(f"FILES:{data.getVar('PN')}").split() + ["/usr/lib/rauc"]
    for path in sorted(image.rglob("*")):
        name = "/" + str(path.relative_to(image))
        if not path.is_dir() and not any(name == entry or name.startswith(entry + "/") for entry in shipped):
            yield name


def of_the_program(tree):
    """The files of systemd/ without those of the appliance: they are in the image whatever they are, so no list names them."""
    return {path.name for path in (tree / "systemd").rglob("*") if path.is_file() and path.name != "install" and "appliance" not in path.parts}


def listing(tree, root):
    lines = []
    for path in sorted(root.rglob("*")):
        name = "/" + str(path.relative_to(root))
        if path.name in of_the_program(tree):
            continue
        if path.is_symlink():
            lines.append(f"{name} -> {path.readlink()}")
        elif path.is_dir():
            if not any(path.iterdir()):
                lines.append(f"{name}/")
        else:
            lines.append(f"{path.stat().st_mode & 0o777:04o} {name}")
    return "".join(line + "\n" for line in lines)


# The units of the system that those of the layer refer to; what they do is not looked at.
FOREIGN = (
    "local-fs.target sysinit.target basic.target multi-user.target shutdown.target network.target network-pre.target "
    "umount.target sockets.target boot-complete.target swap.target paths.target timers.target slices.target "
    "reboot.target local-fs-pre.target -.slice system.slice"
).split()


def verify(root):
    """What systemd has to say about the units."""
    units = root / "usr/lib/systemd/system"
    for name in FOREIGN:
        if not (units / name).exists():
            (units / name).write_text("[Unit]\nDescription=Of the system\nDefaultDependencies=no\n")
    for program in PROGRAMS:
        file = root / program.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    for name in ("systemd-fsck@.service",):
        (units / name).write_text("[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/mkdir -p /run/x\n")
    # That of the layer is newer than the one here may be.
    version = int(re.match(r"systemd (\d+)", support.run(["systemctl", "--version"])[1])[1])
    for drop_in in units.glob("*.service.d/*.conf") if version < 259 else ():
        drop_in.write_text(drop_in.read_text().replace("Type=notify-reload\n", "Type=notify\n"))
    own = [unit for unit in sorted(os.listdir(units)) if re.search(r"(fieldgate|boot|data|rancher|var-|etc-).*\.(service|mount|socket)$", unit)]
    code, output = support.run(["systemd-analyze", "verify", f"--root={root}", "--recursive-errors=no", "--man=no", *own])
    lines = [line for line in output.splitlines() if "Command 'man" not in line]
    return lines + ([f"systemd-analyze verify ended with {code}"] if code else [])


def exposure(root):
    _, output = support.run(["systemd-analyze", "security", "--offline=true", f"--root={root}", "--no-pager", "fieldgate.service"])
    found = re.search(r"Overall exposure level for fieldgate.service: ([0-9.]+)", output)
    assert found, output
    return float(found[1])


def faults(tree, work, machine="qemuarm64"):
    root, found = install(tree, work, machine)
    found = [fault for fault in found if "The example configuration is built in" not in fault]
    conf = root / "usr/lib/fieldgate/appliance.conf"
    if conf.exists() and not re.search(r'^FIELDGATE_DATA_FORMAT="-b 4096 -i 16384 [^"]*"$', conf.read_text(), re.M):
        found.append("a data partition that is made again is another one")
    if machine == "qemuarm64":
        written, golden = listing(tree, root).splitlines(), GOLDEN.read_text().splitlines()
        found += [f"{name} of systemd/ is not in the image" for name in sorted(of_the_program(tree)) if not list(root.rglob(name))]
        found += [f"{line} is new in the image" for line in sorted(set(written) - set(golden))]
        found += [f"{line} is missing in the image" for line in sorted(set(golden) - set(written))]
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nfieldgate:x:900:900::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nfieldgate:x:900:\n")
    found += verify(root)
    level = exposure(root)
    if level > EXPOSURE_MAX:
        found.append(f"fieldgate.service is exposed by {level}, more than {EXPOSURE_MAX}")
    return found


@pytest.mark.parametrize("machine", support.MACHINES)
def test_image_tree_is_sound(tree, tmp_path, machine):
    if os.environ.get("FIELDGATE_BLESS") and machine == "qemuarm64":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(listing(tree, install(tree, tmp_path / "bless")[0]))
    assert faults(tree, tmp_path / "work", machine) == []


def test_example_configuration_is_warned_of(tree, tmp_path):
    _, found = install(tree, tmp_path)
    assert any(fault.startswith("fieldgate-config: WARNING: The example configuration") for fault in found), found


def test_own_configuration_is_not_warned_of(tree, tmp_path):
    own = tmp_path / "gateway.toml"
    own.write_text("# of a site\n")
    data = layer.parse(tree, "qemuarm64", tmp_path / "bitbake", "fieldgate-config", {"FIELDGATE_CONFIG_FILE": str(own)})
    prepare(data)
    code, output = support.run(["sh", "-c", layer.shell_script(data, "do_install")])
    assert (code, output) == (0, "")
    assert (pathlib.Path(data.getVar("D")) / "etc/fieldgate/gateway.toml").read_text() == "# of a site\n"


APPLIANCE = support.LAYER + "/recipes-core/fieldgate-appliance/fieldgate-appliance_0.1.0.bb"


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("systemd/fieldgate.service", "/usr/bin/fieldgate serve", "/usr/bin/fieldgate-broker serve", "fieldgate-broker"),
        ("systemd/fieldgate.service", "WatchdogSec=30", "WatchDogSec=30", "WatchDogSec"),
        ("systemd/fieldgate.service", "ProtectSystem=strict\n", "ProtectSystem=no\nUser=root\n", "is exposed by"),
        ("systemd/install", "service socket ", "service ", "fieldgate.socket of systemd/ is not in the image"),
        ("systemd/appliance/data.mount", "Where=/data", "Where=/mnt", "data.mount"),
        (
            "systemd/appliance/fieldgate-health-gate.service",
            "libexec/fieldgate/health-gate", "libexec/fieldgate/health", "libexec/fieldgate/health",
        ),
        (APPLIANCE, "FIELDGATE_DATA_FORMAT=\"", "DATA_FORMAT=\"", "made again is another one"),
        (APPLIANCE, "    ${libexecdir}/fieldgate \\\n", "", "health-gate is installed and not shipped"),
        ("systemd/install", "put 0755", "put 0644", "is not executable"),
        ("systemd/install", 'install -d "$root/data" ', "install -d ", "/data/ is missing in the image"),
        ("systemd/install", "path mount;", "path;", "data.mount is missing in the image"),
    ],
)
def test_broken_installation_is_named(broken, tmp_path, path, old, new, said):
    support.change(broken, path, old, new)
    found = faults(broken, tmp_path / "work")
    assert any(said in fault for fault in found), found
