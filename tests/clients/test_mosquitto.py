"""mosquitto_pub and mosquitto_sub, as a technician uses them. They speak TCP and TLS."""

import os
import subprocess
import unittest

DEADLINE = 20
CA = os.environ["GATEWAY_CA"]
TRANSPORTS = {
    "tcp": ["-h", "127.0.0.1", "-p", os.environ["GATEWAY_TCP"]],
    "tls": ["-h", "localhost", "-p", os.environ["GATEWAY_TLS"], "--cafile", CA],
}
VERSIONS = ("mqttv31", "mqttv311", "mqttv5")


def publish(transport, *arguments, stdin=None):
    command = ["mosquitto_pub", *TRANSPORTS[transport], *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr.decode()


class Subscriber:
    """A mosquitto_sub that has its SUBACK when it is there."""

    def __init__(self, transport, *arguments):
        command = ["mosquitto_sub", "-d", *TRANSPORTS[transport], "-W", str(DEADLINE), *arguments]
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.process.stdout:
            if line.startswith("Subscribed"):
                return
        raise AssertionError("mosquitto_sub was not subscribed")

    def messages(self):
        # -W ends the process, so reading to the end has a deadline, too.
        rest = [line.rstrip("\n") for line in self.process.stdout]
        self.process.stdout.close()
        assert self.process.wait(DEADLINE) == 0, rest
        return [line for line in rest if not line.startswith(("Client ", "Subscribed"))]


class Mosquitto(unittest.TestCase):
    def test_every_version_and_quality(self):
        for transport in TRANSPORTS:
            for version in VERSIONS:
                for qos in "012":
                    with self.subTest(transport=transport, version=version, qos=qos):
                        topic = f"tools/{transport}/{version}/{qos}"
                        options = ("-V", version, "-t", topic, "-q", qos)
                        subscriber = Subscriber(transport, "-C", "2", "-v", *options)
                        publish(transport, *options, "-m", "hello there")
                        publish(transport, *options, "-n")
                        self.assertEqual(subscriber.messages(), [f"{topic} hello there", f"{topic} (null)"])

    def test_retained_message_is_there_later(self):
        publish("tcp", "-t", "tools/kept", "-r", "-q", "1", "-m", "state")
        subscriber = Subscriber("tls", "-C", "1", "-t", "tools/kept", "-F", "%r %q %p", "-q", "2")
        self.assertEqual(subscriber.messages(), ["1 1 state"])
        publish("tcp", "-t", "tools/kept", "-r", "-n")
        command = ["mosquitto_sub", *TRANSPORTS["tcp"], "-t", "tools/kept", "-t", "tools/end", "-C", "1"]
        late = subprocess.Popen(["stdbuf", "-oL", *command], stdout=subprocess.PIPE, text=True)
        publish("tcp", "-t", "tools/end", "-r", "-m", "end")
        self.assertEqual(late.communicate(timeout=DEADLINE)[0], "end\n")
        publish("tcp", "-t", "tools/end", "-r", "-n")

    def test_lines_arrive_in_order(self):
        subscriber = Subscriber("tcp", "-C", "500", "-t", "tools/lines", "-q", "2")
        lines = "".join(f"line {number}\n" for number in range(500))
        publish("tls", "-t", "tools/lines", "-q", "2", "-l", stdin=lines.encode())
        self.assertEqual(subscriber.messages(), lines.splitlines())

    def test_properties_of_version_5(self):
        subscriber = Subscriber("tcp", "-V", "5", "-C", "1", "-t", "tools/five", "-F", "%C %R %D %P %E %p")
        publish(
            "tcp", "-V", "5", "-t", "tools/five", "-m", "body",
            "-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "answer/me",
            "-D", "publish", "correlation-data", "id7", "-D", "publish", "user-property", "key", "value",
            "-D", "publish", "message-expiry-interval", "3600",
        )
        said, = subscriber.messages()
        # Seconds that it took are taken off.
        self.assertRegex(said, "^text/plain answer/me id7 key:value (3600|35[0-9]{2}) body$")

    def test_will_is_published(self):
        subscriber = Subscriber("tcp", "-C", "1", "-v", "-t", "tools/will")
        mortal = subprocess.Popen(
            ["stdbuf", "-oL", "mosquitto_sub", "-d", *TRANSPORTS["tcp"], "-t", "none", "--will-topic", "tools/will",
             "--will-payload", "gone"],
            stdout=subprocess.PIPE, text=True,
        )
        for line in mortal.stdout:
            if line.startswith("Subscribed"):
                break
        mortal.kill()
        mortal.communicate()
        self.assertEqual(subscriber.messages(), ["tools/will gone"])

    def test_queued_for_a_client_that_is_away(self):
        away = ("-i", "tools-away", "-c", "-q", "1", "-t", "tools/queue")
        Subscriber("tcp", "-E", *away).messages()
        publish("tcp", "-t", "tools/queue", "-q", "1", "-m", "waiting")
        command = ["mosquitto_sub", *TRANSPORTS["tls"], "-C", "1", *away]
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE)
        self.assertEqual(done.stdout, b"waiting\n")

    def test_shared_subscription(self):
        members = [Subscriber("tcp", "-C", "5", "-t", "$share/tools/shared/work") for _ in range(2)]
        for number in range(10):
            publish("tcp", "-t", "shared/work", "-q", "1", "-m", str(number))
        found = sorted((line for member in members for line in member.messages()), key=int)
        self.assertEqual(found, [str(number) for number in range(10)])

    def test_broker_topics(self):
        for topic in ("$SYS/broker/version", "$SYS/broker/uptime", "$SYS/broker/clients/connected"):
            with self.subTest(topic=topic):
                self.assertTrue(Subscriber("tcp", "-C", "1", "-t", topic).messages()[0])

    def test_payload_from_a_file_of_every_byte(self):
        payload = bytes(range(256)) * 3000
        command = ["mosquitto_sub", *TRANSPORTS["tls"], "-t", "tools/bytes", "-C", "1", "-N", "-q", "1",
                   "-i", "tools-bytes", "-c"]
        Subscriber("tls", "-E", "-t", "tools/bytes", "-q", "1", "-i", "tools-bytes", "-c").messages()
        publish("tcp", "-t", "tools/bytes", "-q", "1", "-s", stdin=payload)
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE)
        self.assertEqual(done.stdout, payload)


if __name__ == "__main__":
    unittest.main()
