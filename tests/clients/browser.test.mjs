// A page in headless Chromium with the browser bundle of MQTT.js, over WebSocket and secure WebSocket.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const bundle = readFileSync(new URL("node_modules/mqtt/dist/mqtt.min.js", import.meta.url));
const page_text = readFileSync(new URL("page.html", import.meta.url));
const profile = mkdtempSync(join(tmpdir(), "browser-"));
let server, browser, origin;

before(async () => {
  server = createServer((request, response) => {
    const script = request.url === "/mqtt.min.js";
    response.setHeader("content-type", script ? "text/javascript" : "text/html; charset=utf-8");
    response.end(script ? bundle : page_text);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  origin = `http://127.0.0.1:${server.address().port}`;
  browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS, ignoreHTTPSErrors: true,
    timeout: 120000,
  });
});

after(async () => {
  await browser?.close();
  server?.close();
  // Processes of the browser may still write there for a moment.
  rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

for (const [name, url] of [
  ["WebSocket", `ws://127.0.0.1:${process.env.GATEWAY_WS}/mqtt`],
  ["secure WebSocket", `wss://localhost:${process.env.GATEWAY_WSS}/mqtt`],
]) {
  for (const version of [4, 5]) {
    test(`page subscribes and publishes over ${name}, version ${version}`, async () => {
      const page = await browser.newPage();
      const faults = [];
      page.on("pageerror", (error) => faults.push(error.message));
      await page.goto(origin);
      await page.fill("#url", url);
      await page.fill("#version", String(version));
      await page.click("#connect");
      await page.waitForSelector("#state:text-is('subscribed')", { timeout: 20000 });
      await page.fill("#message", "grüße from a page 🦀");
      await page.click("#publish");
      await page.waitForSelector("#messages li:nth-child(3)", { timeout: 20000 });
      const messages = await page.locator("#messages li").allTextContents();
      assert.deepEqual(messages.sort(), [0, 1, 2].map((qos) => `browser/page/${qos} ${qos} grüße from a page 🦀`));
      assert.deepEqual(faults, []);
      await page.close();
    });
  }
}

test("two pages talk to each other", async () => {
  const pages = [];
  for (const url of [`ws://127.0.0.1:${process.env.GATEWAY_WS}/mqtt`, `wss://localhost:${process.env.GATEWAY_WSS}/mqtt`]) {
    const page = await browser.newPage();
    await page.goto(origin);
    await page.fill("#url", url);
    await page.click("#connect");
    await page.waitForSelector("#state:text-is('subscribed')", { timeout: 20000 });
    pages.push(page);
  }
  await pages[0].fill("#message", "hello over there");
  await pages[0].click("#publish");
  for (const page of pages) {
    await page.waitForSelector("#messages li:nth-child(3)", { timeout: 20000 });
    assert.match(await page.locator("#messages").textContent(), /hello over there/);
    await page.close();
  }
});
