"""A client that keeps account: what the gateway acknowledged has to be there, whatever happens to the gateway meanwhile."""

import json
import ssl
import threading
import time
import urllib.request

import paho.mqtt.client as mqtt

NAME, PASSWORD = "press-1", "correct horse battery staple"
# bcrypt would do as well; this is what `fieldgate user hash` of any machine makes.


def root_of(machine, file):
    """The root of the gateway, fetched the way the documentation says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{machine.ports[8080]}/ca.crt", timeout=20) as answer:
        file.write_bytes(answer.read())
    return file


def client(machine, root=None, name="", user=NAME):
    """One that is not connected yet; over TLS when it has a root to trust."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311, clean_session=not name)
    if user:
        made.username_pw_set(user, PASSWORD)
    if root:
        made.tls_set(ca_certs=str(root), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    made.fieldgate_port = machine.ports[8883 if root else 1883]
    return made


def connect(made, patience=30):
    """Connected, with its thread running; what the gateway answered otherwise."""
    answered = threading.Event()
    codes = []

    def on_connect(_client, _data, _flags, code, _properties):
        codes.append(code)
        answered.set()

    made.on_connect = on_connect
    made.connect("localhost", made.fieldgate_port, keepalive=120)
    made.loop_start()
    if not answered.wait(patience):
        made.loop_stop()
        raise TimeoutError("no CONNACK")
    if codes[0].is_failure:
        made.loop_stop()
        raise PermissionError(str(codes[0]))
    return made


def close(made):
    made.disconnect()
    made.loop_stop()


def round_trip(machine, root=None, text="it works"):
    """A message goes to the gateway and comes back."""
    came = threading.Event()
    made = client(machine, root)
    made.on_message = lambda _client, _data, message: message.payload.decode() == text and came.set()
    connect(made)
    try:
        subscribed = threading.Event()
        made.on_subscribe = lambda *_: subscribed.set()
        made.subscribe("round/trip", 1)
        assert subscribed.wait(30), "no SUBACK"
        made.publish("round/trip", text, 1).wait_for_publish(30)
        assert came.wait(30), "the message did not come back"
    finally:
        close(made)


class Book:
    """Writes retained messages one after the other, and knows which of them were acknowledged."""

    def __init__(self, machine, root=None):
        self.machine, self.root = machine, root
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
        made = client(self.machine, self.root)
        waiting = {}
        lock = threading.Lock()

        def on_publish(_client, _data, identifier, _code, _properties):
            with lock:
                number = waiting.pop(identifier, None)
                if number is not None:
                    self.acknowledged.add(number)

        made.on_publish = on_publish
        try:
            connect(made)
            while not self.stopping.is_set() and made.is_connected():
                if len(waiting) > 20:
                    time.sleep(0.01)
                    continue
                self.number += 1
                with lock:
                    waiting[made.publish(f"book/{self.number}", json.dumps(self.number), 1, retain=True).mid] = self.number
                time.sleep(0.005)
        except (OSError, TimeoutError):
            pass
        finally:
            made.loop_stop()

    def stop(self):
        self.stopping.set()
        self.thread.join(60)

    def missing(self):
        """Numbers that were acknowledged and are not there."""
        there, done = set(), threading.Event()
        made = client(self.machine, self.root)

        def on_message(_client, _data, message):
            if message.topic == "end":
                done.set()
            else:
                there.add(int(message.topic.removeprefix("book/")))

        made.on_message = on_message
        connect(made)
        try:
            made.subscribe([("book/#", 1), ("end", 1)])
            # Retained messages come before what is published after they were asked for.
            time.sleep(1)
            made.publish("end", "", 1).wait_for_publish(60)
            assert done.wait(120), "the messages did not all come"
        finally:
            close(made)
        return sorted(self.acknowledged - there)
