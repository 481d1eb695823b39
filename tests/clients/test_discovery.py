"""python-zeroconf, in another network namespace, finds the gateway, and sees what becomes of it."""

import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / ".tools/python/bin/python"
DEADLINE = 30
GROUP, PORT = "224.0.0.251", 5353
QUIET = '[admin]\nhttp = "off"\n'
OPEN = '[[listener]]\nname = "hall"\n'


def port(number, bind="0.0.0.0", more=""):
    access = 'authentication = "none"\nauthorization = "none"\n'
    return f'[[listener.port]]\nport = {number}\nbind = "{bind}"\n{access}{more}\n'


class Network:
    """Two machines on one cable."""

    def __init__(self):
        self.names = [f"fg-{kind}-{os.getpid()}" for kind in ("gateway", "visitor")]
        gateway, visitor = self.names
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "lan0", "netns", gateway, "type", "veth", "peer", "name", "lan0", "netns", visitor)
        for name, address in ((gateway, "10.77.0.1/24"), (visitor, "10.77.0.2/24")):
            ip("-n", name, "address", "add", address, "dev", "lan0")
            ip("-n", name, "link", "set", "lan0", "up")

    def gateway(self, *command):
        ip("-n", self.names[0], *command)

    def remove(self):
        for name in self.names:
            ip("netns", "delete", name)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Program:
    """A program in the network of one of the machines; its lines of JSON come one by one."""

    def __init__(self, namespace, *command, log=None):
        self.lines = queue.Queue()
        output = log or subprocess.PIPE
        inside = ["ip", "netns", "exec", namespace, "unshare", "--uts", "sh", "-c",
                  'hostname press-hall && exec "$@"', "sh"]
        environment = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
        self.process = subprocess.Popen(
            [*inside, *map(str, command)], stdin=subprocess.PIPE, stdout=output, stderr=log, env=environment,
        )
        if log is None:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def stop(self, sign=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sign)
            self.process.wait(DEADLINE)
        self.process.stdin.close()
        if self.process.stdout:
            self.process.stdout.close()


@unittest.skipUnless("GATEWAY_BINARY" in os.environ and os.geteuid() == 0, "needs the gateway, and networks of its own")
class Discovery(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="discovery-")
        self.addCleanup(self.folder.cleanup)
        self.network = Network()
        self.addCleanup(self.network.remove)
        self.seen = []

    def write(self, text):
        path = Path(self.folder.name) / "gateway.toml"
        path.with_suffix(".new").write_text(QUIET + text)
        path.with_suffix(".new").rename(path)

    def start(self, text):
        self.write(text)
        log = open(Path(self.folder.name) / "gateway.log", "ab")
        self.addCleanup(log.close)
        folder = self.folder.name
        gateway = Program(
            self.network.names[0], os.environ["GATEWAY_BINARY"], "serve", "--config", f"{folder}/gateway.toml",
            "--state-dir", f"{folder}/state", log=log,
        )
        self.addCleanup(gateway.stop)
        self.await_log("ready:")
        return gateway

    def await_log(self, text):
        end = time.monotonic() + DEADLINE
        path = Path(self.folder.name) / "gateway.log"
        while text not in path.read_text(errors="replace"):
            self.assertLess(time.monotonic(), end, f"not in the log: {text}\n{path.read_text(errors='replace')}")
            time.sleep(0.05)

    def status(self):
        command = [os.environ["GATEWAY_BINARY"], "status", "--state-dir", f"{self.folder.name}/state"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout

    def discover(self, machine, what, *arguments):
        program = Program(self.network.names[machine], PYTHON, HERE / "discover.py", what, *arguments)
        self.addCleanup(program.stop, signal.SIGKILL)
        self.await_event(program, lambda event: event["event"] == "Started")
        return program

    def await_event(self, program, is_it):
        end = time.monotonic() + DEADLINE
        while True:
            try:
                event = program.lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                log = (Path(self.folder.name) / "gateway.log").read_text(errors="replace")
                self.fail(f"it did not come; there were {self.seen}\n{log}")
            self.seen.append(event)
            if is_it(event):
                return event

    def await_added(self, program, name):
        return self.await_event(program, lambda event: event["event"] == "Added" and event["name"] == name)

    def await_removed(self, program, name):
        return self.await_event(program, lambda event: event["event"] == "Removed" and event["name"] == name)

    def test_ports_are_found_change_and_go(self):
        watcher = self.discover(1, "watch", "10.77.0.2")
        gateway = self.start(OPEN + port(1883) + port(1884, "127.0.0.1") + '[discovery]\ninstance = "Hall 3"\n')
        found = self.await_added(watcher, "Hall 3._mqtt._tcp.local.")
        self.assertEqual(found["port"], 1883)
        self.assertEqual(found["host"], "press-hall.local.")
        self.assertEqual(found["addresses"], ["10.77.0.1"])
        self.assertEqual(found["texts"], {"txtvers": "1", "mqtt": "3.1.1,5.0"})

        tls = 'tls = { mode = "Automatic" }'
        self.write(OPEN + port(8883, more=tls) + '[discovery]\ninstance = "Hall 3"\n')
        self.await_removed(watcher, "Hall 3._mqtt._tcp.local.")
        found = self.await_added(watcher, "Hall 3._secure-mqtt._tcp.local.")
        self.assertEqual(found["port"], 8883)

        # The names of the certificate are those that are announced.
        context = ["openssl", "s_client", "-connect", "10.77.0.1:8883", "-servername", "press-hall.local",
                   "-verify_hostname", "press-hall.local", "-CAfile", f"{self.folder.name}/state/ca/trust.pem"]
        done = subprocess.run(["ip", "netns", "exec", self.network.names[1], *context],
                              input="", capture_output=True, text=True, timeout=DEADLINE)
        self.assertIn("Verify return code: 0 (ok)", done.stdout, done.stderr)

        started = time.monotonic()
        gateway.stop()
        self.assertEqual(gateway.process.returncode, 0)
        self.await_removed(watcher, "Hall 3._secure-mqtt._tcp.local.")
        self.assertLess(time.monotonic() - started, 10, "it was said, and did not just expire")

    def test_name_that_is_taken_is_left_to_whom_it_is(self):
        taken = self.discover(1, "claim", "10.77.0.2", "Hall 3", "press-hall", "10.77.0.2")
        watcher = self.discover(1, "watch", "10.77.0.2")
        self.start(OPEN + port(1883) + '[discovery]\ninstance = "Hall 3"\n')
        found = self.await_added(watcher, "Hall 3 (2)._mqtt._tcp.local.")
        self.assertEqual((found["host"], found["port"]), ("press-hall-2.local.", 1883))
        self.await_log("another machine has the name")
        # It is announced, and a moment later shown.
        end = time.monotonic() + DEADLINE
        while "announced      press-hall-2.local on lan0" not in self.status():
            self.assertLess(time.monotonic(), end, self.status())
            time.sleep(0.2)
        self.assertIsNone(taken.process.poll())

    def test_address_that_comes_late_and_changes_is_followed(self):
        self.network.gateway("address", "flush", "dev", "lan0")
        watcher = self.discover(1, "watch", "10.77.0.2")
        self.start(OPEN + port(1883))
        self.network.gateway("address", "add", "10.77.0.7/24", "dev", "lan0")
        found = self.await_added(watcher, "press-hall._mqtt._tcp.local.")
        self.assertEqual(found["addresses"], ["10.77.0.7"])
        # The other way round, the second would go together with the first.
        self.network.gateway("address", "delete", "10.77.0.7/24", "dev", "lan0")
        self.network.gateway("address", "add", "10.77.0.8/24", "dev", "lan0")
        end = time.monotonic() + DEADLINE
        while self.addresses_by_dns() != ["10.77.0.8"]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)

    def addresses_by_dns(self):
        """What the gateway answers to a question as any resolver asks it."""
        question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0apress-hall\x05local\x00\x00\x01\x00\x01"
        code = (
            "import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(1);"
            "s.setsockopt(socket.IPPROTO_IP,socket.IP_MULTICAST_IF,socket.inet_aton('10.77.0.2'));"
            f"s.sendto(bytes.fromhex('{question.hex()}'),('{GROUP}',{PORT}));"
            "print(s.recv(9000).hex())"
        )
        done = subprocess.run(["ip", "netns", "exec", self.network.names[1], "python3", "-c", code],
                              capture_output=True, text=True, timeout=DEADLINE)
        if done.returncode:
            return None
        answer = bytes.fromhex(done.stdout)
        self.assertEqual(answer[:2], b"\x12\x34")
        addresses, at = [], answer.find(b"\x00\x01\x00\x01\x00\x00", len(question))
        while at >= 0:
            addresses.append(socket.inet_ntoa(answer[at + 10:at + 14]))
            at = answer.find(b"\x00\x01\x00\x01\x00\x00", at + 14)
        return addresses

    def test_other_responder_on_the_machine_and_noise_do_not_hurt(self):
        self.discover(0, "claim", "all", "Printer", "press-hall", "10.77.0.1")
        watcher = self.discover(1, "watch", "10.77.0.2")
        gateway = self.start(OPEN + port(1883))
        self.await_added(watcher, "press-hall._mqtt._tcp.local.")
        noise = (
            "import random,socket;r=random.Random(7);s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
            "s.setsockopt(socket.IPPROTO_IP,socket.IP_MULTICAST_IF,socket.inet_aton('10.77.0.2'));"
            f"[s.sendto(r.randbytes(r.randrange(1,600)),('{GROUP}',{PORT})) for _ in range(5000)]"
        )
        subprocess.run(["ip", "netns", "exec", self.network.names[1], "python3", "-c", noise], check=True)
        end = time.monotonic() + DEADLINE
        while self.addresses_by_dns() != ["10.77.0.1"]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)
        self.assertIsNone(gateway.process.poll())

    def test_nothing_listens_where_nothing_is_open(self):
        def sockets():
            command = ["ip", "netns", "exec", self.network.names[0], "cat", "/proc/net/udp", "/proc/net/udp6"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        self.start(OPEN + port(1883, "127.0.0.1"))
        self.assertNotIn(f":{PORT:04X} ", sockets())
        self.write(OPEN + port(1883))
        self.await_log("announced by mDNS: press-hall, press-hall")
        self.assertIn(f":{PORT:04X} ", sockets())
        self.write(OPEN + port(1883) + "[discovery]\nenabled = false\n")
        end = time.monotonic() + DEADLINE
        while f":{PORT:04X} " in sockets():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)


if __name__ == "__main__":
    unittest.main()
