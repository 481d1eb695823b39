"""paho-mqtt over every transport, in versions 3.1.1 and 5."""

import os
import queue
import ssl
import threading
import unittest

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

DEADLINE = 20
TRANSPORTS = ("tcp", "tls", "ws", "wss")
VERSIONS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


def properties(kind, **values):
    found = Properties(kind)
    for name, value in values.items():
        setattr(found, name, value)
    return found


class Client:
    """A connected client with the messages that came."""

    def __init__(self, transport, version, client_id="", clean=True, expiry=0, will=None):
        five = version == mqtt.MQTTv5
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version,
            transport="websockets" if transport in ("ws", "wss") else "tcp",
            clean_session=None if five else clean,
        )
        self.messages = queue.Queue()
        self.events = queue.Queue()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_connect = lambda client, data, flags, reason, given: self.events.put((flags, reason, given))
        self.client.on_subscribe = lambda client, data, mid, reasons, given: self.events.put(reasons)
        self.client.on_disconnect = lambda client, data, flags, reason, given: self.events.put(reason)
        if transport in ("tls", "wss"):
            self.client.tls_set(os.environ["GATEWAY_CA"], tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if transport in ("ws", "wss"):
            self.client.ws_set_options(path="/mqtt")
        if will:
            self.client.will_set(**will)
        arguments = {}
        if five:
            arguments = {"clean_start": clean,
                         "properties": properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry)}
        self.client.connect("localhost", int(os.environ[f"GATEWAY_{transport.upper()}"]), 60, **arguments)
        self.client.loop_start()
        self.flags, self.reason, self.given = self.events.get(timeout=DEADLINE)
        assert self.reason == 0, self.reason

    def subscribe(self, topic, qos=0, **arguments):
        self.client.subscribe(topic, qos, **arguments)
        return [reason.value for reason in self.events.get(timeout=DEADLINE)]

    def publish(self, topic, payload, qos=0, retain=False, given=None):
        info = self.client.publish(topic, payload, qos, retain, given)
        info.wait_for_publish(DEADLINE)
        assert info.is_published()

    def take(self):
        return self.messages.get(timeout=DEADLINE)

    def disconnect(self):
        self.client.disconnect()
        self.events.get(timeout=DEADLINE)
        self.client.loop_stop()

    def cut(self):
        """Ends the connection without DISCONNECT."""
        self.client.loop_stop()
        connection = self.client.socket()
        raw = getattr(connection, "_socket", connection)
        raw.close()


def everywhere(test):
    """Runs a test once for each transport and version."""

    def run(self):
        for transport in TRANSPORTS:
            for name, version in VERSIONS.items():
                with self.subTest(transport=transport, version=name):
                    test(self, transport, version, f"paho/{transport}/{name}")

    return run


class Paho(unittest.TestCase):
    @everywhere
    def test_every_quality(self, transport, version, topic):
        subscriber, publisher = Client(transport, version), Client(transport, version)
        self.assertEqual(subscriber.subscribe(topic + "/#", 2), [2])
        for qos in (0, 1, 2):
            publisher.publish(f"{topic}/{qos}", f"payload {qos}", qos)
            found = subscriber.take()
            self.assertEqual((found.topic, found.payload.decode(), found.qos, found.retain),
                             (f"{topic}/{qos}", f"payload {qos}", qos, False))
        subscriber.disconnect()
        publisher.disconnect()

    @everywhere
    def test_retained(self, transport, version, topic):
        publisher = Client(transport, version)
        publisher.publish(topic + "/kept", "state", 1, True)
        late = Client(transport, version)
        late.subscribe(topic + "/+", 1)
        found = late.take()
        self.assertEqual((found.payload, found.retain), (b"state", True))
        publisher.publish(topic + "/kept", b"", 1, True)
        self.assertEqual(late.take().payload, b"")
        later = Client(transport, version)
        later.subscribe(topic + "/+", 1)
        publisher.publish(topic + "/end", "end", 1)
        self.assertEqual(later.take().payload, b"end")
        for client in (publisher, late, later):
            client.disconnect()

    @everywhere
    def test_will(self, transport, version, topic):
        watcher = Client(transport, version)
        watcher.subscribe(topic + "/will", 2)
        will = {"topic": topic + "/will", "payload": "gone", "qos": 2}
        Client(transport, version, will=will).cut()
        found = watcher.take()
        self.assertEqual((found.payload, found.qos), (b"gone", 2))
        Client(transport, version, will=will).disconnect()
        watcher.publish(topic + "/will", "end", 1)
        self.assertEqual(watcher.take().payload, b"end", "no will after DISCONNECT")
        watcher.disconnect()

    @everywhere
    def test_session_is_kept(self, transport, version, topic):
        name = topic.replace("/", "-").replace(".", "-")
        keeps = {"client_id": name, "clean": False, "expiry": 600}
        first = Client(transport, version, **keeps)
        first.subscribe(topic, 2)
        first.disconnect()
        publisher = Client(transport, version)
        for number in range(20):
            publisher.publish(topic, str(number), 1 + number % 2)
        second = Client(transport, version, **keeps)
        self.assertTrue(second.flags.session_present)
        found = [second.take() for _ in range(20)]
        for qos in (1, 2):
            numbers = [int(message.payload) for message in found if message.qos == qos]
            self.assertEqual(numbers, list(range(qos - 1, 20, 2)))
        second.disconnect()
        publisher.disconnect()
        Client(transport, version, client_id=name).disconnect()

    @everywhere
    def test_large_and_binary_payloads(self, transport, version, topic):
        client = Client(transport, version)
        client.subscribe(topic, 1)
        for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
            payload = bytes(number * 7 % 256 for number in range(size))
            client.publish(topic, payload, 1)
            self.assertEqual(client.take().payload, payload)
        client.disconnect()

    @everywhere
    def test_unicode_topics(self, transport, version, topic):
        client = Client(transport, version)
        client.subscribe(topic + "/+/日本/#", 0)
        for name in ("grüße/日本", "é/日本/x", "🦀/日本/ü/ö"):
            client.publish(f"{topic}/{name}", name)
            found = client.take()
            self.assertEqual((found.topic, found.payload.decode()), (f"{topic}/{name}", name))
        client.disconnect()

    @everywhere
    def test_burst_in_order(self, transport, version, topic):
        client = Client(transport, version)
        client.subscribe(topic, 1)
        for number in range(1000):
            client.client.publish(topic, str(number), 1)
        self.assertEqual([int(client.take().payload) for _ in range(1000)], list(range(1000)))
        client.disconnect()

    def test_properties_of_version_5(self):
        for transport in TRANSPORTS:
            with self.subTest(transport=transport):
                client = Client(transport, mqtt.MQTTv5)
                client.subscribe(f"paho5/{transport}", options=SubscribeOptions(qos=1), properties=properties(
                    PacketTypes.SUBSCRIBE, SubscriptionIdentifier=77))
                given = properties(
                    PacketTypes.PUBLISH, ContentType="text/plain", ResponseTopic="answer", CorrelationData=b"\x00\xff",
                    MessageExpiryInterval=3600, PayloadFormatIndicator=1)
                given.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
                client.publish(f"paho5/{transport}", "x", 1, given=given)
                found = client.take().properties
                self.assertEqual(found.ContentType, "text/plain")
                self.assertEqual(found.ResponseTopic, "answer")
                self.assertEqual(found.CorrelationData, b"\x00\xff")
                self.assertEqual(found.PayloadFormatIndicator, 1)
                self.assertIn(found.MessageExpiryInterval, range(3500, 3601))
                self.assertEqual(found.UserProperty, [("b", "1"), ("a", "2"), ("b", "3")])
                self.assertEqual(found.SubscriptionIdentifier, [77])
                client.disconnect()

    def test_assigned_client_identifier(self):
        client = Client("tcp", mqtt.MQTTv5)
        self.assertTrue(client.given.AssignedClientIdentifier)
        client.disconnect()

    def test_subscription_options_of_version_5(self):
        client = Client("tcp", mqtt.MQTTv5)
        client.publish("paho5/options", "kept", 1, True)
        client.subscribe("paho5/options", options=SubscribeOptions(qos=1, noLocal=True, retainHandling=2))
        other = Client("tcp", mqtt.MQTTv5)
        other.subscribe("paho5/options", options=SubscribeOptions(qos=1, retainAsPublished=True))
        self.assertTrue(other.take().retain)
        client.publish("paho5/options", "mine", 1, True)
        self.assertTrue(other.take().retain)
        other.publish("paho5/options", "", 1, True)
        found = client.take()
        self.assertEqual((found.payload, found.retain), (b"", False), "not its own, and nothing retained")
        client.disconnect()
        other.disconnect()

    def test_takeover_is_told(self):
        first = Client("tcp", mqtt.MQTTv5, client_id="paho-twice")
        first.client.reconnect_delay_set(60, 60)
        second = Client("ws", mqtt.MQTTv5, client_id="paho-twice")
        self.assertEqual(first.events.get(timeout=DEADLINE).value, 0x8E)
        threading.Thread(target=first.client.loop_stop, daemon=True).start()
        second.disconnect()

    def test_untrusted_certificate_is_refused_by_the_client(self):
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.tls_set()
        with self.assertRaises(ssl.SSLError):
            client.connect("localhost", int(os.environ["GATEWAY_TLS"]))
        Client("tls", mqtt.MQTTv311).disconnect()


if __name__ == "__main__":
    unittest.main()
