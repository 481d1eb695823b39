"""The archives: what reads them, what is in them, and that the same programs make the same ones.

That the sources make the same programs is for scripts/cross-build --verify.
"""

import hashlib
import importlib.machinery
import importlib.util
import io
import json
import shutil
import struct
import tarfile
import tempfile
import pathlib
import unittest

import machine

SINGLE = machine.IMAGES / f"fieldgate-{machine.VERSION}-amd64.tar"
MULTI = machine.IMAGES / f"fieldgate-{machine.VERSION}.oci.tar"


class Archives(unittest.TestCase):
    def test_two_runs_with_one_program_make_the_same_archives(self):
        with tempfile.TemporaryDirectory() as folder:
            machine.run(
                ["scripts/oci-image", "amd64", "--programs", "target/container", "--out", folder], cwd=machine.ROOT,
            )
            for archive in (SINGLE, MULTI):
                self.assertEqual((pathlib.Path(folder) / archive.name).read_bytes(), archive.read_bytes(), archive.name)

    def test_every_blob_is_what_its_name_says(self):
        with tarfile.open(MULTI) as archive:
            blobs = [entry for entry in archive if entry.isfile() and entry.name.startswith("blobs/")]
            self.assertGreaterEqual(len(blobs), 4)
            for entry in blobs:
                content = archive.extractfile(entry).read()
                self.assertEqual(hashlib.sha256(content).hexdigest(), entry.name.rsplit("/", 1)[1])

    def test_skopeo_reads_both_forms(self):
        inspected = json.loads(machine.run(["skopeo", "inspect", f"oci-archive:{MULTI}"])[1])
        self.assertEqual((inspected["Os"], inspected["Architecture"]), ("linux", "amd64"))
        configuration = json.loads(machine.run(["skopeo", "inspect", "--config", f"docker-archive:{SINGLE}"])[1])
        self.assertEqual(configuration["config"]["User"], "65532:65532")
        raw = json.loads(machine.run(["skopeo", "inspect", "--raw", f"oci-archive:{MULTI}"])[1])
        self.assertEqual(raw["manifests"][0]["platform"]["architecture"], "amd64")

    def test_architecture_that_does_not_exist_is_refused(self):
        code, said = machine.run([machine.ROOT / "scripts/oci-image", "mips"], check=False)
        self.assertEqual(code, 2)
        self.assertIn("there are amd64, arm64, armv7", said)

    def test_missing_program_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            code, said = machine.run([machine.ROOT / "scripts/oci-image", "amd64", "--programs", folder, "--out", folder], check=False)
            self.assertEqual(code, 1)
            self.assertIn("error: there is no program for amd64", said)


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
        with tarfile.open(self.folder / "one/out" / MULTI.name) as archive:
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
