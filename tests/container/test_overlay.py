"""k3s/ as the base of an overlay, as kustomization.yaml says: everything of the bundle comes out, under another image."""

import json
import pathlib
import shutil
import tempfile
import unittest

import machine
import yaml

IMAGE = "registry.example/fieldgate:9"


def by_name(documents):
    of = lambda found: (found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"])
    found = {of(document): document for document in documents}
    assert len(found) == len(documents), "two of one name"
    return found


class Overlaid(unittest.TestCase):
    def test_overlay_has_all_of_the_bundle_and_its_own_image(self):
        version = json.loads(machine.run(["kubectl", "version", "--client", "-o", "json"])[1])["clientVersion"]
        # An older one has another word for a folder.
        key = "resources" if int(version["minor"].rstrip("+")) >= 21 else "bases"
        image = {"name": "localhost/fieldgate", "newName": IMAGE.split(":")[0], "newTag": IMAGE.split(":")[1]}
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copytree(machine.ROOT / "k3s", folder / "k3s")
            (folder / "overlay").mkdir()
            (folder / "overlay/kustomization.yaml").write_text(yaml.safe_dump({key: ["../k3s"], "images": [image]}))
            (folder / "out.yaml").write_text(machine.run(["kubectl", "kustomize", folder / "overlay"])[1])
            made = by_name(machine.resources(folder / "out.yaml"))
        wanted = by_name(machine.resources(machine.ROOT / "k3s/fieldgate.yaml"))
        [deployment] = [found for (kind, *_), found in wanted.items() if kind == "Deployment"]
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGE
        self.assertEqual(made, wanted)


if __name__ == "__main__":
    unittest.main()
