"""What the checks of the layer share: the tree, copies of it that are broken on purpose, and programs that are run."""

import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests/.tools"
LAYER = "yocto/meta-fieldgate"
MACHINES = ("qemuarm64", "qemuarm", "raspberrypi4-64", "raspberrypi2")

# What the checks read; a copy of it is a few hundred kilobytes.
PARTS = ("yocto", "systemd", "config", "Cargo.toml", "Cargo.lock")


def copy_of_tree(folder):
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part)
        else:
            shutil.copy(source, folder / part)
    return folder


def change(tree, path, old, new):
    """Breaks a copy; the text has to be there, or the mutation would prove nothing."""
    file = tree / path
    text = file.read_text()
    assert old in text, f"{path} does not contain {old!r}"
    file.write_text(text.replace(old, new))


def run(arguments, **options):
    """Exit code and everything that was printed."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **options,
    )
    return done.returncode, done.stdout


def machine_class(machine):
    return "qemuall" if machine.startswith("qemu") else "rpi"
