"""docs/from-mosquitto-on-kubernetes.md: its commands make the manifest that is committed, and with that a server written for
mosquitto-auth-plug decides who comes in and what they do."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import machine

PAGE = machine.ROOT / "docs/from-mosquitto-on-kubernetes.md"
EXAMPLE = machine.ROOT / "k3s/from-mosquitto"
PROGRAM = machine.ROOT / "target/container/x86_64-unknown-linux-musl/fieldgate"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


class Translated(unittest.TestCase):
    def test_commands_of_the_page_make_the_manifest(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "mosquitto.conf").write_text(blocks("")[0])
            (folder / "fieldgate").symlink_to(PROGRAM)
            machine.run(["sh", "-euc", blocks("sh")[0]], cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"})
            self.assertEqual((folder / "mosquitto.conf").read_text(), (EXAMPLE / "mosquitto.conf").read_text())
            self.assertEqual((folder / "fieldgate.yaml").read_text(), (EXAMPLE / "fieldgate.yaml").read_text())

    def test_service_keeps_its_name_and_port(self):
        services = [document for document in machine.resources(EXAMPLE / "fieldgate.yaml") if document["kind"] == "Service"]
        self.assertEqual([(service["metadata"]["name"], service["spec"]["ports"][0]["port"]) for service in services], [("mosquitto", 1883)])


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.podman = machine.Podman()
        cls.addClassCleanup(cls.podman.remove)
        cls.podman.load()
        folder = cls.podman.folder
        (folder / "script.json").write_text(json.dumps({
            "users": {"press-1": "secret", "boss": "secret"},
            "superusers": ["boss"],
            "acl": [["press-1", "plant/1/state", 2], ["press-1", "plant/1/state", 1], ["press-1", "plant/1/state", 4]],
        }))
        (folder / "asked.jsonl").touch()
        cls.server = subprocess.Popen(
            [
                sys.executable, machine.ROOT / "tests/backends/seed_auth_server.py", "--address", "0.0.0.0", "--port", "8000",
                "--log", folder / "asked.jsonl", "--script", folder / "script.json",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        cls.addClassCleanup(cls.server.communicate)
        cls.server.stdout.readline()
        documents = machine.resources(EXAMPLE / "fieldgate.yaml")
        for document in documents:
            if document["kind"] == "Deployment":
                # What the Service of the auth service does in a cluster.
                document["spec"]["template"]["spec"]["hostAliases"] = [{"ip": machine.MACHINE, "hostnames": ["auth-server"]}]
        cls.podman.play(documents)
        cls.address = cls.podman.address()

    def client(self, program, user, *words, check=True):
        return machine.run([program, "-h", self.address, "-u", user, "-P", "secret", *words], check=check)

    def asked(self):
        return [json.loads(line)["line"] for line in (self.podman.folder / "asked.jsonl").read_text().splitlines()]

    def test_allowed_topics_are_published_and_received(self):
        self.client("mosquitto_pub", "press-1", "-q", "1", "-r", "-t", "plant/1/state", "-m", "pressed")
        said = self.client("mosquitto_sub", "press-1", "-C", "1", "-W", "30", "-t", "plant/1/state")[1]
        self.assertEqual(said.strip(), "pressed")
        for line in ("POST /auth", "POST /superuser", "POST /acl"):
            self.assertIn(line, self.asked())

    def test_other_topics_and_strangers_are_refused(self):
        _, said = self.client("mosquitto_pub", "press-1", "-V", "5", "-q", "1", "-t", "plant/2/state", "-m", "x", check=False)
        self.assertIn("Not authorized", said)
        code, said = self.client("mosquitto_pub", "press-9", "-q", "1", "-t", "plant/1/state", "-m", "x", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn("bad user name or password", said)

    def test_superusers_may_do_everything(self):
        _, said = self.client("mosquitto_pub", "boss", "-V", "5", "-q", "1", "-t", "plant/2/state", "-m", "x")
        self.assertNotIn("Not authorized", said)


if __name__ == "__main__":
    unittest.main()
