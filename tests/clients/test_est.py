"""The EST client of Bouncy Castle: a device gets its certificate, and the next one with it."""

import os
import subprocess
import unittest
from pathlib import Path

DEADLINE = 120
HERE = Path(__file__).resolve().parent
JARS = ("bcpkix", "bcprov", "bcutil")


@unittest.skipUnless("GATEWAY_EST" in os.environ, "another broker does not enrol")
class Est(unittest.TestCase):
    def fieldgate(self, *arguments):
        command = [os.environ["GATEWAY_BINARY"], *arguments, "--state-dir", os.environ["GATEWAY_STATE"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_device_enrols_and_comes_again(self):
        token = self.fieldgate("ca", "token", "pump-7", "--expires", "1h").splitlines()[0]
        path = ":".join(f"/usr/share/java/{jar}.jar" for jar in JARS)
        server, ca = f"localhost:{os.environ['GATEWAY_EST']}", os.environ["GATEWAY_CA"]
        command = ["java", "-cp", path, HERE / "EstClient.java", server, ca, "pump-7", token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines(), [
            "cacerts: 2",
            "csrattrs: 2",
            "simpleenroll: CN=pump-7",
            "simplereenroll: true",
            "used token: 401",
        ])
        listed = self.fieldgate("ca", "list", "--json")
        self.assertEqual(listed.count('"enrolled"'), 2, listed)


if __name__ == "__main__":
    unittest.main()
