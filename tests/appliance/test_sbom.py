"""The lists of what the program is made of: readers that nobody here wrote take them, and they agree with Cargo.lock."""

import json
import pathlib
import tempfile
import tomllib
import unittest

import machine
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

TARGET = "aarch64-unknown-linux-gnu"


class Materials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        for name in ("first", "second"):
            machine.run(["scripts/sbom", "--target", TARGET, "--out", cls.folder / name], cwd=machine.ROOT)

    def read(self, name):
        return (self.folder / "first" / name).read_text()

    def test_same_sources_make_the_same_files(self):
        for file in (self.folder / "first").iterdir():
            self.assertEqual(file.read_bytes(), (self.folder / "second" / file.name).read_bytes(), file.name)

    def test_cyclonedx_is_valid(self):
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_5).validate_str(self.read("fieldgate.cdx.json")))

    def test_fault_in_cyclonedx_would_be_seen(self):
        document = json.loads(self.read("fieldgate.cdx.json"))
        document["components"][0]["type"] = "thing"
        self.assertIsNotNone(JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document)))

    def test_spdx_is_valid(self):
        messages = validate_full_spdx_document(parse_file(str(self.folder / "first/fieldgate.spdx.json")))
        self.assertEqual([message.validation_message for message in messages], [])

    def test_both_lists_name_the_same_and_only_what_is_locked(self):
        components = {(part["name"], part["version"]) for part in json.loads(self.read("fieldgate.cdx.json"))["components"]}
        packages = {(part["name"], part["versionInfo"]) for part in json.loads(self.read("fieldgate.spdx.json"))["packages"]}
        self.assertEqual({part for part in packages if part[0] != "fieldgate"}, components)
        locked = {(part["name"], part["version"]) for part in tomllib.loads((machine.ROOT / "Cargo.lock").read_text())["package"]}
        self.assertEqual({name for name, _ in components - locked}, {"sqlite"})
        names = {name for name, _ in components}
        self.assertLessEqual({"tokio", "rustls", "ring", "libsqlite3-sys"}, names)
        self.assertFalse({"criterion", "rumqttc", "serde_derive", "cc"} & names, "what only compiles or tests is not part of the program")

    def test_every_part_has_its_licence(self):
        text = self.read("licences.txt")
        for part in json.loads(self.read("fieldgate.cdx.json"))["components"]:
            if part["name"] != "sqlite":
                self.assertIn(f"\n{part['name']} {part['version']}: ", text)


STATUS = """\
Package: libc6
Status: install ok installed
Architecture: arm64
Source: glibc
Version: 2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 Contains the standard libraries: of nearly all programs.

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1

Package: libstdc++6
Status: install ok installed
Architecture: arm64
Source: gcc-12 (12.2.0-14)
Version: 1:12.2.0-14+b1
"""

KERNEL = "Package: linux-image-6.1.0-1-arm64\nArchitecture: arm64\nSource: linux\nVersion: 6.1.1-1\n"


class Image(unittest.TestCase):
    """What an image is made of: the program with its crates, and packages of Debian."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        (cls.folder / "status").write_text(STATUS)
        (cls.folder / "kernel").mkdir()
        (cls.folder / "kernel/linux.fields").write_text(KERNEL)
        for name in ("first", "second"):
            machine.run(
                ["scripts/image-sbom", "--status", cls.folder / "status", "--kernel", cls.folder / "kernel", "--target", TARGET,
                 "--name", "fieldgate-arm64", "--version", "1.2.3", "--out", cls.folder / name],
                cwd=machine.ROOT,
            )
        cls.cyclonedx = (cls.folder / "first/fieldgate-arm64.cdx.json").read_text()
        cls.spdx = cls.folder / "first/fieldgate-arm64.spdx.json"

    def test_same_packages_make_the_same_files(self):
        for file in (self.folder / "first").iterdir():
            self.assertEqual(file.read_bytes(), (self.folder / "second" / file.name).read_bytes(), file.name)

    def test_cyclonedx_is_valid(self):
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_5).validate_str(self.cyclonedx))

    def test_spdx_is_valid(self):
        messages = validate_full_spdx_document(parse_file(str(self.spdx)))
        self.assertEqual([message.validation_message for message in messages], [])

    def test_what_is_installed_is_named_as_advisories_name_it(self):
        components = json.loads(self.cyclonedx)["components"]
        packages = {part["name"]: part["purl"] for part in components if part.get("purl", "").startswith("pkg:deb/")}
        self.assertEqual(
            packages,
            {
                "libc6": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=arm64&distro=debian-12&upstream=glibc",
                "libstdc++6": "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bb1?arch=arm64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
                "linux-image-6.1.0-1-arm64":
                    "pkg:deb/debian/linux-image-6.1.0-1-arm64@6.1.1-1?arch=arm64&distro=debian-12&upstream=linux",
            },
        )
        self.assertLessEqual({"fieldgate", "tokio", "sqlite"}, {part["name"] for part in components})
        named = {part["name"] for part in json.loads(self.spdx.read_text())["packages"]}
        self.assertEqual(named, {part["name"] for part in components} | {"fieldgate-arm64"})


if __name__ == "__main__":
    unittest.main()
