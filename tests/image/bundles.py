"""Updates as somebody else would make them: the root of the image with another program in it, signed by whom one likes."""

import os
import pathlib
import shutil

import machine

KEYS = pathlib.Path(os.environ.get("FIELDGATE_IMAGE_KEYS", "/nonexistent"))

# Brokers that do not serve. Every other command is that of the program, so that the gate judges and is not itself the fault.
OTHERWISE = "#!/bin/sh\n[ \"$1\" = serve ] || exec /usr/bin/fieldgate.whole \"$@\"\n"
BAD = {
    "exits": OTHERWISE + "exit 1\n",
    # Says that it is ready, and nothing more.
    "hangs": OTHERWISE + "systemd-notify --ready\nexec sleep infinity\n",
    # No store can be opened there.
    "storeless": OTHERWISE + "exec /usr/bin/fieldgate.whole serve --state-dir /usr/lib/fieldgate/none\n",
}
# The gate is patient, since a slow card is no fault. These never pass, so it need not be.
IMPATIENT = "[Service]\nEnvironment=TIME=20s\n"


def root_with_broker(source, made, program):
    """A copy of the root whose broker is this program."""
    machine.run(["cp", "--sparse=always", source, made])
    files = {"program": program, "impatient": IMPATIENT}
    for name, content in files.items():
        made.with_name(f"{made.name}.{name}").write_text(content)
    folder = "/usr/lib/systemd/system/fieldgate-health-gate.service.d"
    script = made.with_name(f"{made.name}.debugfs")
    script.write_text(
        "ln /usr/bin/fieldgate /usr/bin/fieldgate.whole\nunlink /usr/bin/fieldgate\n"
        f"write {made}.program /usr/bin/fieldgate\nsif /usr/bin/fieldgate mode 0100755\n"
        f"mkdir {folder}\nwrite {made}.impatient {folder}/90-test.conf\n"
    )
    machine.run(["debugfs", "-w", "-f", script, made])
    return made


def bundle(folder, name, root, arch="arm64", signer="ours", version="9.9.9", compatible=None):
    """A signed update of this root."""
    content = folder / f"{name}.content"
    content.mkdir(parents=True)
    os.link(root, content / "root.ext4")
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={compatible or f'fieldgate-image-{arch}-debug'}\nversion={version}\n\n"
        "[bundle]\nformat=verity\n\n[image.rootfs]\nfilename=root.ext4\n"
    )
    made = folder / f"{name}.raucb"
    machine.run([
        "rauc", f"--cert={KEYS / signer}/signer.cert.pem", f"--key={KEYS / signer}/signer.key.pem",
        "--mksquashfs-args=-comp zstd -Xcompression-level 1 -quiet -no-progress", "bundle", content, made,
    ])
    shutil.rmtree(content)
    return made


def tampered(source, made):
    """One byte of the payload is another one."""
    shutil.copy(source, made)
    with open(made, "r+b") as file:
        file.seek(made.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    return made


def unsigned(source, made):
    """The signature and its size, which are at the end, are gone: a squashfs that anybody can make."""
    data = source.read_bytes()
    size = int.from_bytes(data[-8:], "big")
    made.write_bytes(data[: -8 - size])
    return made


def medium(folder, files):
    """A second disk with these files, as an operator brings it."""
    content = folder / "medium"
    content.mkdir()
    for file in files:
        os.link(file, content / file.name)
    made = folder / "medium.img"
    size = sum(file.stat().st_size for file in files) * 5 // 4 // machine.MIB + 16
    machine.run(["mke2fs", "-q", "-t", "ext4", "-L", "medium", "-d", content, made, f"{size}M"])
    shutil.rmtree(content)
    return made
