// MQTT.js over every transport, in versions 3.1.1 and 5.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";

import mqtt from "mqtt";

const ca = readFileSync(process.env.GATEWAY_CA);
const url = {
  tcp: `mqtt://127.0.0.1:${process.env.GATEWAY_TCP}`,
  tls: `mqtts://localhost:${process.env.GATEWAY_TLS}`,
  ws: `ws://127.0.0.1:${process.env.GATEWAY_WS}/mqtt`,
  wss: `wss://localhost:${process.env.GATEWAY_WSS}/mqtt`,
};
const clients = [];
after(() => clients.forEach((client) => client.end(true)));

/** A connected client that keeps the messages that come. */
async function connect(transport, protocolVersion, options = {}) {
  const client = mqtt.connect(url[transport], { ca, protocolVersion, reconnectPeriod: 0, connectTimeout: 20000, ...options });
  clients.push(client);
  client.found = [];
  client.waiting = [];
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload, packet };
    const next = client.waiting.shift();
    if (next) next(message);
    else client.found.push(message);
  });
  const [connack] = await once(client, "connect", { signal: AbortSignal.timeout(20000) });
  return Object.assign(client, { connack });
}

function take(client) {
  const message = client.found.shift();
  if (message) return message;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no message in time")), 20000);
    client.waiting.push((found) => (clearTimeout(timer), resolve(found)));
  });
}

for (const transport of Object.keys(url)) {
  for (const version of [4, 5]) {
    const topic = `js/${transport}/${version}`;
    const name = (what) => `${what} over ${transport}, version ${version}`;

    test(name("every quality"), async () => {
      const client = await connect(transport, version);
      const granted = await client.subscribeAsync(`${topic}/#`, { qos: 2 });
      assert.equal(granted[0].qos, 2);
      for (const qos of [0, 1, 2]) {
        await client.publishAsync(`${topic}/${qos}`, `payload ${qos}`, { qos });
        const found = await take(client);
        assert.equal(found.payload.toString(), `payload ${qos}`);
        assert.equal(found.packet.qos, qos);
        assert.equal(found.packet.retain, false);
      }
      await client.endAsync();
    });

    test(name("retained message"), async () => {
      const publisher = await connect(transport, version);
      await publisher.publishAsync(`${topic}/kept`, "state", { qos: 1, retain: true });
      const late = await connect(transport, version);
      await late.subscribeAsync(`${topic}/kept`, { qos: 1 });
      const found = await take(late);
      assert.equal(found.payload.toString(), "state");
      assert.equal(found.packet.retain, true);
      await publisher.publishAsync(`${topic}/kept`, "", { qos: 1, retain: true });
      await publisher.endAsync();
      await late.endAsync();
    });

    test(name("will"), async () => {
      const watcher = await connect(transport, version);
      await watcher.subscribeAsync(`${topic}/will`, { qos: 2 });
      const will = { topic: `${topic}/will`, payload: Buffer.from("gone"), qos: 2, retain: false };
      const mortal = await connect(transport, version, { will });
      mortal.stream.destroy();
      const found = await take(watcher);
      assert.equal(found.payload.toString(), "gone");
      assert.equal(found.packet.qos, 2);
      await watcher.endAsync();
    });

    test(name("large payload and unicode"), async () => {
      const client = await connect(transport, version);
      await client.subscribeAsync(`${topic}/ü/#`, { qos: 1 });
      const payload = Buffer.alloc(900_000, "0123456789abcdef🦀");
      await client.publishAsync(`${topic}/ü/日本/🦀`, payload, { qos: 1 });
      const found = await take(client);
      assert.equal(found.topic, `${topic}/ü/日本/🦀`);
      assert.ok(found.payload.equals(payload));
      await client.endAsync();
    });

    test(name("kept session"), async () => {
      const keeps = { clientId: `js-${transport}-${version}`, clean: false };
      if (version === 5) keeps.properties = { sessionExpiryInterval: 600 };
      const first = await connect(transport, version, keeps);
      await first.subscribeAsync(`${topic}/queue`, { qos: 2 });
      await first.endAsync();
      const publisher = await connect(transport, version);
      for (let number = 0; number < 10; number++) await publisher.publishAsync(`${topic}/queue`, `${number}`, { qos: 2 });
      const second = await connect(transport, version, keeps);
      assert.equal(second.connack.sessionPresent, true);
      for (let number = 0; number < 10; number++) assert.equal((await take(second)).payload.toString(), `${number}`);
      await second.endAsync();
      await publisher.endAsync();
    });
  }

  test(`properties over ${transport}`, async () => {
    const client = await connect(transport, 5, { properties: { topicAliasMaximum: 10 }, autoAssignTopicAlias: true });
    const topic = `js5/${transport}`;
    await client.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 5 } });
    for (let round = 0; round < 3; round++) {
      const properties = {
        contentType: "text/plain", responseTopic: "answer", correlationData: Buffer.from([0, 255]),
        payloadFormatIndicator: true, userProperties: { key: ["one", "two"], other: "three" },
      };
      await client.publishAsync(topic, "x", { qos: 1, properties });
      const found = await take(client);
      assert.equal(found.topic, topic);
      assert.equal(found.packet.properties.contentType, "text/plain");
      assert.equal(found.packet.properties.responseTopic, "answer");
      assert.deepEqual([...found.packet.properties.correlationData], [0, 255]);
      assert.equal(found.packet.properties.payloadFormatIndicator, true);
      assert.deepEqual({ ...found.packet.properties.userProperties }, { key: ["one", "two"], other: "three" });
      assert.equal(found.packet.properties.subscriptionIdentifier, 5);
    }
    await client.endAsync();
  });
}

test("WebSocket subprotocol is mqtt", async () => {
  const client = await connect("ws", 5);
  assert.equal(client.stream.socket?.protocol ?? "mqtt", "mqtt");
  await client.endAsync();
});

test("refusal is told with its reason", async () => {
  const client = mqtt.connect(url.tcp, { protocolVersion: 5, reconnectPeriod: 0, properties: { authenticationMethod: "none-such" } });
  clients.push(client);
  const [error] = await once(client, "error", { signal: AbortSignal.timeout(20000) });
  assert.equal(error.code, 0x8c);
});
