"""A client that keeps account: what the gateway acknowledged has to be there, whatever happens to the gateway meanwhile."""

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


def connected(machine, root, patience=30, **callbacks):
    """A client of the port with TLS, with its thread running; it trusts this root alone."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
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


class Book:
    """Writes retained messages one after the other, and knows which of them were acknowledged."""

    def __init__(self, machine):
        self.machine = machine
        self.root = machine.folder / "ca.crt"
        self.acknowledged = set()
        self.number = 0
        self.stopping = threading.Event()
        self.thread = None

    def write(self):
        """Goes on until it is told to stop or the gateway is gone."""
        self.stopping.clear()
        self.thread = threading.Thread(target=self.writing, daemon=True)
        self.thread.start()

    def writing(self):
        waiting = {}
        lock = threading.Lock()

        def on_publish(_client, _data, identifier, _code, _properties):
            with lock:
                number = waiting.pop(identifier, None)
                if number is not None:
                    self.acknowledged.add(number)

        made = connected(self.machine, self.root, on_publish=on_publish)
        try:
            while not self.stopping.is_set() and made.is_connected():
                if len(waiting) > 20:
                    time.sleep(0.01)
                    continue
                self.number += 1
                with lock:
                    waiting[made.publish(f"book/{self.number}", json.dumps(self.number), 1, retain=True).mid] = self.number
                time.sleep(0.005)
        finally:
            close(made)

    def stop(self):
        self.stopping.set()
        self.thread.join(60)

    def missing(self):
        """Numbers that were acknowledged and are not there."""
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
