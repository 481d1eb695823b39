"""The archives of all three architectures: what is in them, and that they are the same each time."""

import importlib.machinery
import importlib.util
import io
import json
import pathlib
import shutil
import struct
import tarfile
import tempfile
import unittest

import machine


def script():
    """scripts/oci-image as a module."""
    loader = importlib.machinery.SourceFileLoader("oci_image", str(machine.ROOT / "scripts/oci-image"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("oci_image", loader))
    loader.exec_module(module)
    return module


class EveryArchitecture(unittest.TestCase):
    """With stand-ins for the programs, which take long to build."""

    @classmethod
    def setUpClass(cls):
        cls.script = script()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="fieldgate-oci-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for run in ("one", "two"):
            for triple in cls.script.TRIPLES.values():
                program = cls.folder / run / "programs" / triple / "fieldgate"
                program.parent.mkdir(parents=True)
                program.write_text(triple)
            machine.run(
                ["scripts/oci-image", "--programs", cls.folder / run / "programs", "--out", cls.folder / run / "out"], cwd=machine.ROOT,
            )

    def index(self):
        """Of each architecture its configuration and its files: mode and content by name."""
        with tarfile.open(self.folder / "one/out" / f"fieldgate-{machine.VERSION}.oci.tar") as archive:
            def blob(descriptor):
                content = archive.extractfile("blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")).read()
                self.assertEqual(len(content), descriptor["size"])
                return content

            top = json.load(archive.extractfile("index.json"))["manifests"]
            self.assertEqual(len(top), 1)
            found = {}
            for entry in json.loads(blob(top[0]))["manifests"]:
                manifest = json.loads(blob(entry))
                files = {}
                for layer in manifest["layers"]:
                    with tarfile.open(fileobj=io.BytesIO(blob(layer))) as tar:
                        files.update({one.name: (one.mode, tar.extractfile(one).read()) for one in tar if one.isfile()})
                platform = entry["platform"]
                name = "/".join(platform[key] for key in ("os", "architecture", "variant") if key in platform)
                found[name] = (json.loads(blob(manifest["config"])), files)
        return found

    def test_archives_are_the_same_each_time(self):
        names = sorted(path.name for path in (self.folder / "one/out").iterdir())
        self.assertEqual(len(names), 4, names)
        for name in names:
            one, two = ((self.folder / run / "out" / name).read_bytes() for run in ("one", "two"))
            self.assertTrue(one == two, name)

    def test_index_has_every_platform_with_its_program(self):
        found = self.index()
        platforms = {"linux/amd64": "amd64", "linux/arm64/v8": "arm64", "linux/arm/v7": "armv7"}
        self.assertEqual(set(found), set(platforms))
        for name, arch in platforms.items():
            configuration, files = found[name]
            self.assertEqual(configuration["architecture"], name.split("/")[1])
            self.assertEqual(configuration["config"]["User"], "65532:65532")
            self.assertEqual(files["fieldgate"], (0o755, self.script.TRIPLES[arch].encode()))
            self.assertIn("usr/share/doc/fieldgate/licences.txt", files)

    def test_armv7_has_its_loader_and_the_licences_of_what_comes_along(self):
        configuration, files = self.index()["linux/arm/v7"]
        for library in self.script.LIBRARIES:
            mode, content = files[f"lib/{library}"]
            # ELF for 32-bit ARM.
            self.assertEqual((mode, content[:5], struct.unpack("<H", content[18:20])[0]), (0o755, b"\x7fELF\x01", 40), library)
        for package in ("libc6", "libgcc-s1"):
            self.assertIn(b"GPL", files[f"usr/share/doc/{package}/copyright"][1])
        label = configuration["config"]["Labels"]["io.fieldgate.libraries"]
        self.assertRegex(label, r"^libc6 2\.36-9\+deb12u\d+, libgcc-s1 12\.2\.0-14")

    def test_library_without_its_licence_is_refused(self):
        tree = self.folder / "tree"
        (tree / "lib").mkdir(parents=True)
        for library in self.script.LIBRARIES:
            (tree / "lib" / library).write_text("x")
        doc = tree / "usr/share/doc"
        (doc / "libc6").mkdir(parents=True)
        (doc / "libc6/copyright").write_text("GPL")
        # As Debian has it, without the package that it leads to.
        (doc / "libgcc-s1").symlink_to("gcc-12-base")
        with self.assertRaisesRegex(self.script.Refused, "libgcc-s1 comes without its licence"):
            self.script.library_files(tree, 0)
        (doc / "gcc-12-base").mkdir()
        (doc / "gcc-12-base/copyright").write_text("GPL")
        with tarfile.open(fileobj=io.BytesIO(self.script.library_files(tree, 0))) as tar:
            self.assertEqual(tar.extractfile("usr/share/doc/libgcc-s1/copyright").read(), b"GPL")

    def test_packages_of_another_release_are_refused(self):
        self.assertEqual(self.script.parsed_versions("1\n2\n3\n"), ["1", "2", "3"])
        for said in ("", "\n\n\n", "1\n\n3\n"):
            with self.assertRaisesRegex(self.script.Refused, "has not all of libc6 2.36"):
                self.script.parsed_versions(said)


if __name__ == "__main__":
    unittest.main()
