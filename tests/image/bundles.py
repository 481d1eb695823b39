"""Updates as somebody else would make them: the root of the image with another program in it, signed by whom one likes."""

import os
import pathlib
import shutil

import machine

KEYS = pathlib.Path(os.environ.get("FIELDGATE_IMAGE_KEYS", "/nonexistent"))

# Programs that are no broker. Each still answers `--version`, as one does that fails later.
EXITS = "#!/bin/sh\n[ \"$1\" != serve ] || exit 1\n"
# Says that it is ready, and nothing more: it is killed by the watchdog, and never answers.
HANGS = "#!/bin/sh\n[ \"$1\" = serve ] || exit 1\nsystemd-notify --ready\nexec sleep infinity\n"


def root_with(source, made, files):
    """A copy of the file system in which some files have other contents, by their names."""
    machine.run(["cp", "--sparse=always", source, made])
    commands = []
    for number, (name, content) in enumerate(files.items()):
        file = made.with_name(f"{made.name}.{number}")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        commands += [f"rm {name}", f"write {file} {name}", f"sif {name} mode 0100755"]
    script = made.with_name(f"{made.name}.debugfs")
    script.write_text("\n".join(commands) + "\n")
    machine.run(["debugfs", "-w", "-f", script, made])
    return made


def bundle(folder, name, root, arch="arm64", signer="ours", version="9.9.9", compatible=None):
    """A signed update of this root."""
    content = folder / f"{name}.content"
    content.mkdir(parents=True)
    os.link(root, content / "root.ext4")
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={compatible or f'fieldgate-image-{arch}'}\nversion={version}\n\n"
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
