"""The archives: what reads them, and that the same program makes the same ones.

That the sources make the same programs is for scripts/cross-build --verify.
"""

import hashlib
import json
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


if __name__ == "__main__":
    unittest.main()
