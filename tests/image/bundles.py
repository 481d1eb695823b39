"""Updates as somebody else would make them: the root of the image with another program in it, signed by whom one likes."""

import fcntl
import os
import pathlib
import shutil

import machine

KEYS = pathlib.Path(os.environ.get("FIELDGATE_IMAGE_KEYS", "/nonexistent"))
MADE = machine.IMAGES / "updates"

# Brokers that do not serve. Every other command is that of the program, so that the gate judges and is not itself the fault.
OTHERWISE = "#!/bin/sh\n[ \"$1\" = serve ] || exec /usr/bin/fieldgate.whole \"$@\"\n"
BAD = {
    "exits": OTHERWISE + "exit 1\n",
    # Says that it is ready, and nothing more.
    "hangs": OTHERWISE + "systemd-notify --ready\nexec sleep infinity\n",
    # No store can be opened there.
    "storeless": OTHERWISE + "exec /usr/bin/fieldgate.whole serve --state-dir /usr/lib/fieldgate/none\n",
    # Brings the database to a format that the version before cannot work with, as a newer one does: first a copy, then the number
    # in the header of the file, and no row that says who can read it. Then it fails.
    "newer": OTHERWISE + """\
database=/var/lib/fieldgate/gateway.db
format=$(od -An -tu1 -j63 -N1 "$database" | tr -d ' ')
if [ "$format" != 99 ]; then
    # It is all in one file then, with nothing in a log beside it.
    /usr/bin/fieldgate.whole backup /tmp/copy.db || exit 1
    cp /tmp/copy.db "$database.v$format.bak"
    cp /tmp/copy.db "$database.new"
    LC_ALL=C sed -i s/readable_since/readable_sincx/ "$database.new"
    printf '\\143' | dd of="$database.new" bs=1 seek=63 conv=notrunc 2>/dev/null
    rm -f "$database-wal" "$database-shm"
    mv "$database.new" "$database"
    sync
fi
exit 1
""",
    # Serves as well as any, but a kernel of it cannot mount the data partition.
    "unmounted": "#!/bin/sh\nexec /usr/bin/fieldgate.whole \"$@\"\n",
}
# The gate is patient, since a slow card is no fault. These never pass, so it need not be.
IMPATIENT = "[Service]\nEnvironment=TIME=20s\n"
# What else is different in them, by the unit.
UNITS = {
    "unmounted": {"data.mount": "[Mount]\nOptions=no-such-option\n", "emergency.service": "[Service]\nEnvironment=PAUSE=10\n"},
}
# A shell is not the one who says that it is ready, its child is.
LENIENT = "[Service]\nNotifyAccess=all\n"
# What is wrong with each, and with which words it is refused.
REFUSED = {
    "unsigned": "no bundle that this machine takes",
    "foreign": "sign|takes",
    "other": "is for `fieldgate-image-armhf`",
    "product": "is for `fieldgate-image-arm64`",
    "tampered": "Input/output error|Failed|failed",
}


def root_with_broker(source, made, program, units):
    """A copy of the root whose broker is this program, and where these units are different."""
    machine.run(["cp", "--sparse=always", source, made])
    broker = made.with_name(f"{made.name}.program")
    broker.write_text(program)
    files = ["/usr/bin/fieldgate"]
    lines = [
        "ln /usr/bin/fieldgate /usr/bin/fieldgate.whole", "unlink /usr/bin/fieldgate",
        f"write {broker} /usr/bin/fieldgate", "sif /usr/bin/fieldgate mode 0100755",
    ]
    units = {"fieldgate-health-gate.service": IMPATIENT, "fieldgate.service": LENIENT, **units}
    for unit, content in units.items():
        source, folder = made.with_name(f"{made.name}.{unit}"), f"/usr/lib/systemd/system/{unit}.d"
        source.write_text(content)
        files.append(f"{folder}/90-test.conf")
        # A folder that is there already stays.
        lines += [f"mkdir {folder}", f"write {source} {files[-1]}"]
    script = made.with_name(f"{made.name}.debugfs")
    script.write_text("".join(line + "\n" for line in lines))
    machine.run(["debugfs", "-w", "-f", script, made])
    for file in files:
        assert "Type: regular" in machine.run(["debugfs", "-R", f"stat {file}", made]), f"{file} was not written"
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


def updates(folder, arch, bad, refused):
    """A good one, and those that are bad or refused."""
    shipped, root = machine.IMAGES / f"debug/fieldgate-{arch}.raucb", machine.IMAGES / f"debug/fieldgate-{arch}.ext4"
    good = bundle(folder, "good", root, arch)
    yield good
    for name in bad:
        changed = root_with_broker(root, folder / f"{name}.ext4", BAD[name], UNITS.get(name, {}))
        yield bundle(folder, name, changed, arch)
        changed.unlink()
    makers = {
        "foreign": lambda: bundle(folder, "foreign", root, arch, signer="foreign"),
        "other": lambda: bundle(folder, "other", root, compatible="fieldgate-image-armhf"),
        "product": lambda: bundle(folder, "product", root, compatible="fieldgate-image-arm64"),
        "tampered": lambda: tampered(good, folder / "tampered.raucb"),
        "unsigned": lambda: unsigned(shipped, folder / "unsigned.raucb"),
    }
    for name in refused:
        yield makers[name]()


def medium(arch, bad, refused):
    """A second disk with these updates, as an operator brings it. The first process that needs it makes it, for all of the run and
    for those after it, until there is another image."""
    MADE.mkdir(parents=True, exist_ok=True)
    made = MADE / f"{arch}-{len(bad) + len(refused)}.img"
    sources = (machine.IMAGES / f"debug/fieldgate-{arch}.raucb", KEYS / "ours/signer.cert.pem", pathlib.Path(__file__))
    with open(MADE / f"{arch}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists() and made.stat().st_mtime > max(source.stat().st_mtime for source in sources):
            return made
        folder = MADE / arch
        shutil.rmtree(folder, ignore_errors=True)
        content = folder / "medium"
        content.mkdir(parents=True)
        files = list(updates(folder, arch, bad, refused))
        for file in files:
            os.link(file, content / file.name)
        size = sum(file.stat().st_size for file in files) * 5 // 4 // machine.MIB + 16
        machine.run(["mke2fs", "-q", "-t", "ext4", "-L", "medium", "-d", content, folder / "medium.img", f"{size}M"])
        (folder / "medium.img").rename(made)
        shutil.rmtree(folder)
    return made
