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


if __name__ == "__main__":
    unittest.main()
