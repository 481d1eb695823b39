#!/usr/bin/env python3
"""Time of a start with much in the store: fills a gateway over MQTT, kills it, and starts it again until the first CONNACK.

  start_full.py [--sessions 100000] [--messages 1000000] [--folder DIR]

The binary is $FIELDGATE. The folder has to be on a real disk. Prints one JSON line.
"""
import argparse, json, os, selectors, socket, struct, subprocess, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
WINDOW = 1000


def text(value):
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def packet(head, body):
    length, encoded = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([head]) + bytes(encoded) + body


def connect(client_id, clean):
    return packet(0x10, text("MQTT") + bytes([4, 2 if clean else 0]) + struct.pack("!H", 0) + text(client_id))


def dial(port):
    link = socket.create_connection(("127.0.0.1", port), 5)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def make_sessions(port, count):
    """Each client connects, subscribes to a topic of its own and leaves; many at a time."""
    poll, left, made = selectors.DefaultSelector(), iter(range(count)), 0

    def open_next():
        number = next(left, None)
        if number is None:
            return False
        link = dial(port)
        subscribe = packet(0x82, struct.pack("!H", 1) + text(f"full/{number}/#") + b"\x01")
        link.sendall(connect(f"full-{number}", False) + subscribe)
        poll.register(link, selectors.EVENT_READ, [b"", number])
        return True

    for _ in range(200):
        if not open_next():
            break
    while poll.get_map():
        for key, _ in poll.select(10):
            key.data[0] += key.fileobj.recv(64)
            if len(key.data[0]) >= 9:  # CONNACK and SUBACK
                assert key.data[0][:1] == b"\x20" and key.data[0][3] == 0 and key.data[0][8] == 1, key.data
                key.fileobj.sendall(b"\xe0\x00")
                poll.unregister(key.fileobj)
                key.fileobj.close()
                made += 1
                open_next()
    return made


def publish(port, sessions, messages):
    link = dial(port)
    link.sendall(connect("full-publisher", True))
    assert link.recv(4)[3] == 0
    payload, sent, acknowledged, rest = b"x" * 64, 0, 0, b""
    while acknowledged < messages:
        burst = bytearray()
        while sent < messages and sent - acknowledged < WINDOW:
            body = text(f"full/{sent % sessions}/t") + struct.pack("!H", sent % 60000 + 1) + payload
            burst += packet(0x32, body)
            sent += 1
        link.sendall(burst)
        rest += link.recv(65536)
        acknowledged += len(rest) // 4
        rest = rest[len(rest) // 4 * 4 :]
    link.close()


def serve(folder, port):
    with open(os.path.join(HERE, "mqttload", "peers", "fieldgate.toml")) as source:
        config = source.read().split("[[listener.port]]")
    config = "[[listener.port]]".join(config[:2]).replace("{port5}", "0").replace("{port}", str(port))
    config = config.replace("[limits]", "[limits]\nsessions_max = 1000000")
    path = os.path.join(folder, "gateway.toml")
    with open(path, "w") as file:
        file.write(config)
    command = [os.environ["FIELDGATE"], "serve", "--config", path, "--state-dir", os.path.join(folder, "state")]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            with dial(port) as link:
                link.sendall(connect("full-probe", True))
                if link.recv(4)[:1] == b"\x20":
                    return process, time.monotonic() - began
        except OSError:
            time.sleep(0.002)
    raise SystemExit(f"the gateway ended with {process.returncode}")


def resident_kib(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--sessions", type=int, default=100_000)
    p.add_argument("--messages", type=int, default=1_000_000)
    p.add_argument("--folder", help="where the state folder is made; default the folder for temporary files")
    args = p.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        process, empty = serve(folder, port)
        assert make_sessions(port, args.sessions) == args.sessions
        publish(port, args.sessions, args.messages)
        process.kill()
        process.wait()
        process, full = serve(folder, port)
        result = {
            "sessions": args.sessions,
            "messages": args.messages,
            "start_empty_s": round(empty, 3),
            "start_full_s": round(full, 3),
            "rss_kib": resident_kib(process),
            "database_mib": round(os.path.getsize(os.path.join(folder, "state", "gateway.db")) / 2**20, 1),
        }
        process.kill()
        process.wait()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
