"""The Deployment that ships, run by podman from the archive that ships: MQTT over TLS through it, and what outlives it."""

import json
import unittest

import machine


class Pod(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.podman = machine.Podman()
        cls.addClassCleanup(cls.podman.remove)
        cls.podman.load()
        cls.podman.play(machine.resources())
        cls.root = cls.podman.folder / "root.pem"
        cls.root.write_text(cls.podman.inside("ca", "export-root", "--pem")[1])

    def client(self, program, *words, user, check=True):
        return machine.run(
            [program, "--cafile", self.root, "-h", self.podman.address(), "-p", "8883", "-u", user, "-P", "correct horse battery", *words],
            check=check,
        )

    def restart(self):
        self.podman.stop()
        self.podman.start()

    def test_message_goes_through_tls_and_outlives_the_pod(self):
        self.podman.inside("user", "add", "press-1", "--stdin", text="correct horse battery\n")
        self.client("mosquitto_pub", "-q", "1", "-r", "-t", "devices/press-1/state", "-m", "pressed", user="press-1")
        self.restart()
        said = self.client("mosquitto_sub", "-C", "1", "-W", "30", "-t", "devices/press-1/#", user="press-1")[1]
        self.assertEqual(said.strip(), "pressed")
        code, _ = self.client("mosquitto_pub", "-q", "1", "-t", "devices/press-2/state", "-m", "x", user="press-2", check=False)
        self.assertNotEqual(code, 0)

    def test_pod_has_what_the_manifest_says(self):
        found = json.loads(self.podman("inspect", machine.CONTAINER)[1])[0]
        self.assertEqual(found["Config"]["User"], "65532:65532")
        self.assertTrue(found["HostConfig"]["ReadonlyRootfs"])
        self.assertEqual(found["EffectiveCaps"], None)
        self.assertEqual(found["HostConfig"]["Memory"], 320 << 20)

    def test_pod_ends_when_it_is_told_to(self):
        self.podman("stop", "--time", "20", machine.CONTAINER)
        ended = json.loads(self.podman("inspect", machine.CONTAINER)[1])[0]["State"]
        self.assertEqual(ended["ExitCode"], 0)
        self.restart()


if __name__ == "__main__":
    unittest.main()
