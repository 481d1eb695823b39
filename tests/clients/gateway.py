"""Starts a broker with a plain and a TLS port for MQTT and for WebSocket each, and one for enrolment, for the clients here."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PORTS = ("tcp", "tls", "ws", "wss")
DEADLINE = 20.0


class Gateway:
    """A running broker; `env` tells the clients where it is."""

    def __init__(self, binary, stand_in=None):
        self.dir = Path(tempfile.mkdtemp(prefix="clients-"))
        make_certificates(self.dir)
        self.log = open(self.dir / "gateway.log", "wb")
        if stand_in == "mosquitto":
            self.process, ports = self._start_mosquitto()
        else:
            self.process, ports = self._start_fieldgate(binary)
        self.env = {f"GATEWAY_{name.upper()}": str(ports[name]) for name in PORTS}
        self.env["GATEWAY_CA"] = str(self.dir / "ca.crt")
        if stand_in is None:
            self.env["GATEWAY_EST"] = str(self._await_enrolment())
            self.env["GATEWAY_BINARY"] = str(Path(binary).resolve())
            self.env["GATEWAY_STATE"] = str(self.dir / "state")

    def _start_fieldgate(self, binary):
        config = '[admin]\nhttp = "127.0.0.1:0"\n[[listener]]\nname = "clients"\n'
        for name, port in zip(PORTS, free_ports(len(PORTS))):
            config += f'\n[[listener.port]]\nport = {port}\nbind = "127.0.0.1"\n'
            config += 'authentication = "none"\nauthorization = "none"\n'
            if name in ("ws", "wss"):
                config += 'protocol = "WebSockets"\n'
            if name in ("tls", "wss"):
                files = f'cert = "{self.dir}/server.crt", key = "{self.dir}/server.key"'
                config += f'tls = {{ mode = "Manual", {files} }}\n'
        files = f'cert = "{self.dir}/server.crt", key = "{self.dir}/server.key"'
        config += f'\n[est]\nhttps = "127.0.0.1:0"\ntls = {{ mode = "Manual", {files} }}\n'
        (self.dir / "gateway.toml").write_text(config)
        command = [binary, "serve", "--config", self.dir / "gateway.toml", "--state-dir", self.dir / "state"]
        environment = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
        process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        addresses = self._await_ports(process)
        return process, dict(zip(PORTS, addresses))

    def _await_ports(self, process):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and process.poll() is None:
            try:
                ports = control(self.dir / "state/control.sock", "status")["ports"]
                if all(port["state"] == "listening" for port in ports):
                    return [int(port["address"].rsplit(":", 1)[1]) for port in ports]
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise SystemExit("the gateway did not start:\n" + self.read_log())

    def _await_enrolment(self):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            status = control(self.dir / "state/control.sock", "status")
            door, authority = status["est"]["https"], status["authority"]
            if door["state"] == "listening" and authority["status"]:
                return int(door["address"].rsplit(":", 1)[1])
            time.sleep(0.02)
        raise SystemExit("nobody can enrol:\n" + self.read_log())

    def _start_mosquitto(self):
        ports = dict(zip(PORTS, free_ports(len(PORTS))))
        config = "allow_anonymous true\nper_listener_settings false\n"
        for name, port in ports.items():
            config += f"listener {port} 127.0.0.1\n"
            if name in ("ws", "wss"):
                config += "protocol websockets\n"
            if name in ("tls", "wss"):
                config += f"certfile {self.dir}/server.crt\nkeyfile {self.dir}/server.key\n"
        (self.dir / "mosquitto.conf").write_text(config)
        for path in (self.dir, *self.dir.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        process = subprocess.Popen(["mosquitto", "-c", self.dir / "mosquitto.conf"], stdout=self.log, stderr=self.log)
        for port in ports.values():
            await_port(port, self)
        return process, ports

    def read_log(self):
        return (self.dir / "gateway.log").read_text(errors="replace")

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = None
        self.log.close()
        log = self.read_log()
        shutil.rmtree(self.dir, ignore_errors=True)
        return code, log


def control(path, command):
    """Carries out a command over the control socket."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(DEADLINE)
        stream.connect(str(path))
        stream.sendall(json.dumps({"command": command}).encode() + b"\n")
        line = stream.makefile().readline()
    return json.loads(line)["ok"]


def await_port(port, gateway):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the broker did not start:\n" + gateway.read_log())


def free_ports(count):
    """Below those that the system gives to clients, so that none of these takes one before the broker does. Each is held until
    all are found."""
    found = []
    with contextlib.ExitStack() as held:
        for port in random.sample(range(12000, 20000), 8000):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise SystemExit("no port is free")


def make_certificates(folder):
    """A certificate authority and a server certificate for loopback, with openssl."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    authority = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=Test CA", *authority)
    openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "server.ext").write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n"
    )
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
        "-out", "server.crt", "-days", "2", "-extfile", "server.ext",
    )
