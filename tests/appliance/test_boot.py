"""The units under a systemd of their own, booted in a container: what is told, watched, passed in, written down and ended."""

import json
import shutil
import unittest

import machine

UNIT = "fieldgate.service"
APPLIANCE = machine.ROOT / "systemd/appliance"


class Service(unittest.TestCase):
    """One machine for all of these; none of them leaves it different."""

    @classmethod
    def setUpClass(cls):
        cls.machine = machine.Machine()
        cls.addClassCleanup(cls.machine.remove)
        # The keys of a port, kept where only systemd reads them.
        for name in ("server.key", "server.crt"):
            cls.machine.write(f"root/{name}", "", 0o600)
        machine.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", cls.machine.path("root/server.key"), "-out", cls.machine.path("root/server.crt")]
        )
        cls.machine.drop_in(
            UNIT,
            "[Service]\nWatchdogSec=15\nLoadCredential=server.key:/root/server.key\nLoadCredential=server.crt:/root/server.crt\n",
        )
        keys = f"/run/credentials/{UNIT}"
        cls.machine.write(
            "etc/fieldgate/conf.d/60-tls.toml",
            "[[listener]]\nname = \"secure\"\n[[listener.port]]\nport = 8883\nauthentication = \"none\"\nauthorization = \"none\"\n"
            f'tls = {{ mode = "Manual", cert = "{keys}/server.crt", key = "{keys}/server.key" }}\n',
        )
        cls.newer = cls.machine.systemd_version() >= 259
        if cls.newer:
            machine.run([machine.ROOT / "systemd/install", "newer", cls.machine.root])
        cls.machine.boot()

    def await_active(self):
        machine.await_that("the service serves", lambda: self.machine.property(UNIT, "ActiveState") == "active")

    def pid(self):
        return self.machine.property(UNIT, "MainPID")

    def test_everything_of_the_system_is_up(self):
        failed = self.machine.enter("systemctl", "--failed", "--plain", "--no-legend")[1]
        self.assertNotIn("fieldgate", failed)

    def test_service_says_that_it_is_ready_and_how_it_fares(self):
        self.await_active()
        self.assertEqual(self.machine.property(UNIT, "Type"), "notify")
        machine.await_that("it serves 2 ports", lambda: "serving 2 ports" in self.machine.property(UNIT, "StatusText"))

    def test_message_goes_through(self):
        self.await_active()
        self.machine.enter("mosquitto_pub", "-h", "127.0.0.1", "-t", "kept", "-m", "it works", "-r", "-q", "1")
        _, said = self.machine.enter("mosquitto_sub", "-h", "127.0.0.1", "-t", "kept", "-C", "1", "-W", "20")
        self.assertEqual(said.strip(), "it works")

    def test_key_comes_in_as_a_credential(self):
        self.await_active()
        shutil.copy(self.machine.path("root/server.crt"), self.machine.path("tmp-ca.crt"))
        _, said = self.machine.enter(
            "mosquitto_pub", "-h", "localhost", "-p", "8883", "--cafile", "/tmp-ca.crt", "-t", "a", "-m", "b", "-q", "1"
        )
        self.assertEqual(said, "")
        # The file itself is not readable for the service.
        self.assertNotEqual(self.machine.enter("setpriv", "--reuid=fieldgate", "--clear-groups", "cat", "/root/server.key", check=False)[0], 0)

    def test_reload_is_waited_for_and_a_refused_file_fails_it(self):
        self.await_active()
        self.assertEqual(self.machine.property(UNIT, "Type"), "notify-reload" if self.newer else "notify")
        self.machine.enter("systemctl", "reload", UNIT)
        bad = self.machine.path("etc/fieldgate/conf.d/70-bad.toml")
        bad.write_text("[limits]\nconections_max = 5\n")
        try:
            code, _ = self.machine.enter("systemctl", "reload", UNIT, check=False)
            self.assertNotEqual(code, 0)
            self.assertEqual(self.machine.property(UNIT, "ActiveState"), "active")
        finally:
            bad.unlink()
        self.machine.enter("systemctl", "reload", UNIT)

    def test_hung_service_is_killed_and_started_again(self):
        self.await_active()
        before = self.pid()
        self.machine.enter("sh", "-c", f"kill -STOP {before}")
        machine.await_that("another process serves", lambda: self.pid() not in ("0", before))
        self.await_active()
        machine.await_that("why it was killed", lambda: self.machine.says("Watchdog timeout", f"UNIT={UNIT}"))

    def test_journal_has_a_field_for_each_value(self):
        self.await_active()
        self.machine.enter("mosquitto_pub", "-h", "127.0.0.1", "-i", "pump-7", "-t", "a", "-m", "b", check=False)
        # A packet that nobody may send: the journal names who did.
        self.machine.enter("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1883; printf 'GET / HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3", check=False)
        fields = lambda: [entry for entry in self.machine.journal("-u", UNIT) if "PEER" in entry]
        entry = machine.await_that("an entry with its peer", fields)[-1]
        self.assertEqual(entry["SYSLOG_IDENTIFIER"], "fieldgate")
        self.assertTrue(entry["PEER"].startswith("127.0.0.1:"), entry)
        self.assertIn(entry["PRIORITY"], "3456")

    def test_stopped_service_stays_down_and_ended_well(self):
        self.await_active()
        self.machine.enter("systemctl", "stop", UNIT)
        self.assertEqual(self.machine.property(UNIT, "Result"), "success")
        self.assertEqual(self.machine.property(UNIT, "ActiveState"), "inactive")
        self.machine.enter("systemctl", "start", UNIT)


class Activated(unittest.TestCase):
    def test_port_that_systemd_holds_outlives_the_service_and_starts_it(self):
        held = machine.Machine()
        self.addCleanup(held.remove)
        held.write(
            "etc/fieldgate/gateway.toml",
            '[[listener]]\nname = "hall"\n[[listener.port]]\nsystemd = "mqtt"\nauthentication = "none"\nauthorization = "none"\n',
        )
        machine.run(["systemctl", f"--root={held.root}", "enable", "fieldgate.socket"])
        held.boot()
        self.assertEqual(held.property("fieldgate.socket", "ActiveState"), "active")
        held.enter("mosquitto_pub", "-h", "127.0.0.1", "-t", "kept", "-m", "held", "-r", "-q", "1")
        held.enter("systemctl", "stop", UNIT)
        self.assertEqual(held.property(UNIT, "ActiveState"), "inactive")
        _, said = held.enter("mosquitto_sub", "-h", "127.0.0.1", "-t", "kept", "-C", "1", "-W", "60")
        self.assertEqual(said.strip(), "held")
        # A message may come through before systemd has read that the service is ready.
        machine.await_that("the service is ready", lambda: held.property(UNIT, "ActiveState") == "active")


class PowerOff(unittest.TestCase):
    def test_machine_that_is_switched_off_keeps_what_was_acknowledged(self):
        off = machine.Machine()
        self.addCleanup(off.remove)
        off.boot()
        off.enter("mosquitto_pub", "-h", "127.0.0.1", "-t", "kept", "-m", "over night", "-r", "-q", "1")
        self.assertEqual(off.power_off(), 0)
        stopped = [entry for entry in off.journal() if entry.get("UNIT") == UNIT and "Deactivated successfully" in str(entry.get("MESSAGE"))]
        self.assertTrue(stopped, "the service was not stopped in order")
        off.boot()
        _, said = off.enter("mosquitto_sub", "-h", "127.0.0.1", "-t", "kept", "-C", "1", "-W", "20")
        self.assertEqual(said.strip(), "over night")


class Appliance(unittest.TestCase):
    """The units that a disk image adds. The data partition is a folder; what speaks to U-Boot stays out."""

    def setUp(self):
        self.machine = machine.Machine()
        self.addCleanup(self.machine.remove)
        self.data = self.machine.folder / "data"
        self.data.mkdir()
        self.card = self.machine.folder / "card"
        self.card.mkdir()
        machine.run([machine.ROOT / "systemd/install", "appliance", self.machine.root])
        wanted = [line.split()[1] for line in (APPLIANCE / "system-preset/81-fieldgate-appliance.preset").read_text().splitlines()]
        machine.run(["systemctl", f"--root={self.machine.root}", "enable", *wanted])
        self.machine.drop_in(
            "fieldgate-health-gate.service",
            "[Service]\nEnvironment=COMMAND_LINE=/proc/1/cmdline TIME=20s\n",
        )
        # The name of the kernel cannot be written in a container.
        self.machine.drop_in("fieldgate-hostname.service", "[Service]\nEnvironment=KERNEL_NAME=/run/host-name\n")
        self.machine.drop_in("fieldgate-boot-import.service", "[Service]\nEnvironment=KERNEL_NAME=/run/host-name\n")
        # A container reads the words of its kernel from its first process, which has them apart by zeros.
        gate = self.machine.path("usr/libexec/fieldgate/health-gate")
        gate.write_text(gate.read_text().replace("tr ' ' '\\n'", "tr ' \\000' '\\n\\n'"))

    def disks(self):
        return [f"--bind={self.data}:/data", f"--bind={self.card}:/boot"]

    def boot(self):
        self.machine.boot("rauc.slot=A", options=self.disks())

    def starts_again(self, *options, is_failure=True):
        """Without anybody who asks for it; says whether it was a start that failed."""
        self.machine.drop_in("emergency.service", "[Service]\nEnvironment=PAUSE=1\nExecStartPre=/bin/touch /failed\n")
        self.machine.start("rauc.slot=A", options=options)
        self.assertEqual(self.machine.ended(), machine.STARTS_AGAIN)
        self.assertEqual(self.machine.path("failed").exists(), is_failure, "something else has started it again")

    def test_machine_that_cannot_mount_its_data_starts_again(self):
        self.starts_again()

    def test_machine_whose_reset_fails_starts_again(self):
        self.machine.drop_in("fieldgate-factory-reset.service", "[Unit]\nConditionPathExists=\n[Service]\nExecStart=\nExecStart=/bin/false\n")
        self.starts_again(*self.disks())
        self.assertFalse(any((self.data / "fieldgate/state").glob("*.db")), "the gateway ran on what was to be removed")

    def test_reset_that_is_made_is_no_start_that_failed(self):
        self.machine.drop_in("fieldgate-factory-reset.service", "[Unit]\nConditionPathExists=\n")
        (self.data / "fieldgate/proven").mkdir(parents=True)
        (self.data / "fieldgate/proven/A").write_text("slot A: as delivered\n")
        (self.data / "fieldgate/hostname").write_text("press-hall\n")
        (self.data / "factory-reset").write_text("command")
        self.starts_again(*self.disks(), is_failure=False)
        self.assertEqual([path.name for path in self.data.iterdir()], ["fieldgate"])
        self.assertEqual([path.name for path in (self.data / "fieldgate").iterdir()], ["proven"])

    def alarms(self):
        def status():
            code, said = self.machine.enter("fieldgate", "status", "--json", check=False)
            return said if code == 0 else None

        return [alarm["name"] for alarm in json.loads(machine.await_that("the gateway answers", status))["alarms"]]

    def test_first_start_lays_out_the_data_and_later_ones_find_it(self):
        self.boot()
        home = self.data / "fieldgate"
        self.assertEqual(sorted(path.name for path in home.iterdir() if path.name not in ("proven", "update")), [".provisioned", "etc", "journal", "state", "systemd"])
        name = self.machine.enter("cat", "/run/host-name")[1].strip()
        self.assertRegex(name, "^fieldgate-[0-9a-f]{6}$")
        self.machine.enter("mosquitto_pub", "-h", "127.0.0.1", "-t", "kept", "-m", "here", "-r", "-q", "1")
        self.assertTrue(any((home / "state").glob("*.db")), "the store is on the data partition")
        self.assertEqual(self.machine.power_off(), 0)
        marked = (home / ".provisioned").stat().st_mtime_ns
        self.boot()
        self.assertEqual((home / ".provisioned").stat().st_mtime_ns, marked, "laid out twice")
        self.assertEqual(self.machine.enter("cat", "/run/host-name")[1].strip(), name)

    def test_files_of_the_boot_partition_count_from_the_first_start(self):
        files = self.card / "fieldgate"
        files.mkdir()
        (files / "hostname").write_text("press-hall\r\n")
        (files / "users").write_text("press-1:correct horse\r\n")
        (files / "gateway.toml").write_text(
            '[[listener]]\nname = "hall"\n[[listener.port]]\nport = 1884\nbind = "127.0.0.1"\n'
            'authentication = "people"\nauthorization = "none"\n[authentication.people]\nmethods = ["password"]\n'
        )
        self.boot()
        said = ("-h", "127.0.0.1", "-p", "1884", "-t", "a", "-m", "b", "-q", "1", "-u", "press-1", "-P")
        self.machine.enter("mosquitto_pub", *said, "correct horse")
        self.assertEqual(self.machine.enter("cat", "/run/host-name")[1].strip(), "press-hall")
        self.assertFalse((files / "users").exists())
        self.assertTrue((files / "imported.txt").exists())
        machine.await_that("the console says where the gateway is",
                           lambda: self.machine.enter("cat", "/run/issue.d/50-fieldgate.issue", check=False)[1].count("127.0.0.1:1884"))

    def test_fault_on_the_boot_partition_is_told_and_stops_nothing(self):
        files = self.card / "fieldgate"
        files.mkdir()
        (files / "gateway.toml").write_text("[[listener]]\nname = 7\n")
        self.boot()
        self.machine.enter("mosquitto_pub", "-h", "127.0.0.1", "-t", "a", "-m", "b", "-q", "1")
        self.assertIn("gateway.toml:2", (files / "errors.txt").read_text())
        self.assertEqual(self.machine.property("fieldgate-boot-import.service", "Result"), "exit-code")
        # The import is root's, and the gateway is somebody else.
        self.assertEqual(self.alarms(), ["boot-import"])
        for path, found in (("", "710 root fieldgate"), ("/errors.txt", "640 root fieldgate")):
            self.assertEqual(self.machine.enter("stat", "-c", "%a %U %G", f"/etc/fieldgate/.import{path}")[1].strip(), found)
        self.assertEqual(self.machine.power_off(), 0)
        shutil.rmtree(files)
        self.boot()
        self.assertEqual(self.alarms(), [])

    def test_gateway_that_serves_completes_the_boot(self):
        self.boot()
        self.machine.enter("systemctl", "start", "boot-complete.target")
        self.assertEqual(self.machine.property("boot-complete.target", "ActiveState"), "active")
        # The journal may take a moment.
        machine.await_that("the slot is called good", lambda: self.machine.says("slot A is good"))
        self.assertEqual((self.data / "fieldgate/proven/A").read_text(), "slot A: as delivered\n")

    def test_gateway_that_does_not_serve_starts_the_machine_again(self):
        # An image that was installed: one that the device came with has no other to fall back to.
        (self.data / "rauc").mkdir()
        (self.data / "rauc/central.raucs").write_text("[slot.rootfs.0]\nsha256=0123\n")
        self.machine.drop_in(UNIT, "[Service]\nExecStart=\nExecStart=/bin/false\n")
        self.boot()
        self.machine.enter("systemctl", "--no-block", "start", "boot-complete.target")
        self.assertEqual(self.machine.ended(), machine.STARTS_AGAIN)
        self.assertFalse((self.data / "fieldgate/proven").exists())


if __name__ == "__main__":
    unittest.main()
