"""The Deployment that ships, run by podman from the archive that ships: MQTT over TLS through it, and what outlives it."""

import json
import unittest

import machine


class Pod(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.podman = machine.Podman()
        cls.addClassCleanup(cls.podman.remove)
        cls.podman("load", "--input", machine.IMAGES / f"fieldgate-{machine.VERSION}-amd64.tar")
        documents = machine.resources()
        kept = [document for document in documents if document["kind"] == "PersistentVolumeClaim"]
        workload = [document for document in documents if document["kind"] in ("ConfigMap", "Deployment")]
        assert [document["kind"] for document in workload].count("Deployment") == 1
        cls.deployment = machine.write(cls.podman.folder, "deployment.yaml", workload)
        cls.podman("kube", "play", machine.write(cls.podman.folder, "claim.yaml", kept))

    def setUp(self):
        self.play()

    def play(self):
        self.podman("kube", "play", self.deployment)
        machine.until(lambda: self.inside("health", "--ready", check=False)[0] == 0, "readiness")

    def stop(self):
        self.podman("kube", "down", self.deployment)

    def tearDown(self):
        self.stop()

    def inside(self, *words, check=True, text=None):
        options = ["--interactive"] if text is not None else []
        return self.podman("exec", *options, machine.CONTAINER, "/fieldgate", *words, check=check, text=text)

    def address(self):
        networks = json.loads(self.podman("inspect", self.infra())[1])[0]["NetworkSettings"]["Networks"]
        return next(iter(networks.values()))["IPAddress"]

    def infra(self):
        return json.loads(self.podman("pod", "inspect", "fieldgate-pod-0")[1])["InfraContainerID"]

    def client(self, program, *words, user, check=True):
        return machine.run(
            [program, "--cafile", self.root, "-h", self.address(), "-p", "8883", "-u", user, "-P", "correct horse battery", *words], check=check,
        )

    def trust(self):
        self.root = self.podman.folder / "root.pem"
        self.root.write_text(self.inside("ca", "export-root", "--pem")[1])

    def test_message_goes_through_tls_and_outlives_the_pod(self):
        self.inside("user", "add", "press-1", "--stdin", text="correct horse battery\n")
        self.trust()
        self.client("mosquitto_pub", "-q", "1", "-r", "-t", "devices/press-1/state", "-m", "pressed", user="press-1")
        self.stop()
        self.play()
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


if __name__ == "__main__":
    unittest.main()
