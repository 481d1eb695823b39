"""A client that keeps account: what the gateway acknowledged has to be there, whatever happens to the gateway meanwhile."""

import collections
import json
import ssl
import threading
import time
import urllib.request

import paho.mqtt.client as mqtt

NAME, PASSWORD = "press-1", "correct horse battery staple"


def fetch_root(machine, file):
    """The root of the gateway, the way docs/est.md says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{machine.ports[8080]}/ca.crt", timeout=20) as answer:
        file.write_bytes(answer.read())


def connected(machine, root, patience=30, protocol=mqtt.MQTTv311, **callbacks):
    """A client of the port with TLS, with its thread running; it trusts this root alone."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
    made.username_pw_set(NAME, PASSWORD)
    made.tls_set(ca_certs=str(root), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    # A gateway that is gone stays gone for this client.
    made.reconnect_delay_set(600, 600)
    for name, callback in callbacks.items():
        setattr(made, name, callback)
    answered = threading.Event()
    codes = []

    def on_connect(_client, _data, _flags, code, _properties):
        codes.append(code)
        answered.set()

    made.on_connect = on_connect
    made.connect("localhost", machine.ports[8883], keepalive=120)
    made.loop_start()
    if not answered.wait(patience):
        made.loop_stop()
        raise TimeoutError("no CONNACK")
    if codes[0].is_failure:
        made.loop_stop()
        # Users that are made a moment later are the one reason to try again.
        raise ValueError(str(codes[0]))
    return made


def close(made):
    made.disconnect()
    made.loop_stop()


def round_trip(machine, root):
    """A message goes to the gateway and comes back."""
    subscribed, came = threading.Event(), threading.Event()
    made = connected(
        machine, root, on_subscribe=lambda *_: subscribed.set(),
        on_message=lambda _client, _data, message: message.payload == b"it works" and came.set(),
    )
    try:
        made.subscribe("round/trip", 1)
        if not subscribed.wait(30):
            raise TimeoutError("no SUBACK")
        made.publish("round/trip", "it works", 1)
        if not came.wait(30):
            raise TimeoutError("the message did not come back")
    finally:
        close(made)


def answers_to(machine, root, count):
    """What MQTT 5 answers to so many retained messages on new topics."""
    codes, all_came = [], threading.Event()

    def on_publish(_client, _data, _identifier, code, _properties):
        codes.append(code)
        if len(codes) == count:
            all_came.set()

    made = connected(machine, root, protocol=mqtt.MQTTv5, on_publish=on_publish)
    try:
        for number in range(count):
            made.publish(f"answers/{number}", "x" * 1024, 1, retain=True)
        assert all_came.wait(120), f"{len(codes)} of {count} were answered"
    finally:
        close(made)
    return codes


class Book:
    """Writes retained messages one after the other, and knows which of them were acknowledged."""

    def __init__(self, machine):
        self.machine = machine
        self.root = machine.folder / "ca.crt"
        self.acknowledged = set()
        self.number = 0
        self.stopping = threading.Event()
        self.thread = None
        self.fault = None
        self.before = 0

    def write(self):
        """Goes on until it is told to stop or the gateway is gone. Returns when something was acknowledged."""
        self.stopping.clear()
        self.fault, self.before = None, len(self.acknowledged)
        self.thread = threading.Thread(target=self.written, daemon=True)
        self.thread.start()
        end = time.monotonic() + 120
        while len(self.acknowledged) == self.before and self.thread.is_alive() and time.monotonic() < end:
            time.sleep(0.05)

    def written(self):
        try:
            self.writing()
        except Exception as fault:  # Told by `stop`, in the thread of the test.
            self.fault = fault

    def writing(self):
        # Identifiers that were acknowledged, from the thread of the client; it holds a lock then that `publish` takes as well, so
        # no other lock may be waited for there.
        answered = collections.deque()
        waiting = {}

        def settle():
            while answered:
                self.acknowledged.add(waiting.pop(answered.popleft()))

        made = connected(self.machine, self.root, on_publish=lambda _client, _data, identifier, *_: answered.append(identifier))
        try:
            while not self.stopping.is_set() and made.is_connected():
                if len(waiting) > 20:
                    time.sleep(0.01)
                else:
                    self.number += 1
                    waiting[made.publish(f"book/{self.number}", json.dumps(self.number), 1, retain=True).mid] = self.number
                    time.sleep(0.005)
                settle()
        finally:
            close(made)
            settle()

    def stop(self):
        """A round in which nothing was acknowledged has shown nothing."""
        self.stopping.set()
        self.thread.join(60)
        assert not self.thread.is_alive(), "it does not end"
        if self.fault is not None:
            raise AssertionError("nothing could be written") from self.fault
        assert len(self.acknowledged) > self.before, "nothing was acknowledged"

    def write_for(self, seconds):
        self.write()
        time.sleep(seconds)
        self.stop()

    def missing(self):
        """Numbers that were acknowledged and are not there."""
        assert self.acknowledged, "nothing was put to the test"
        there, done = set(), threading.Event()
        def on_message(_client, _data, message):
            if message.topic == "end":
                done.set()
            else:
                there.add(int(message.topic.removeprefix("book/")))

        made = connected(self.machine, self.root, on_message=on_message)
        try:
            made.subscribe([("book/#", 1), ("end", 1)])
            # Retained messages come before what is published after they were asked for.
            time.sleep(1)
            made.publish("end", "", 1).wait_for_publish(60)
            assert done.wait(120), "the messages did not all come"
        finally:
            close(made)
        return sorted(self.acknowledged - there)
