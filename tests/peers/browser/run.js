// @ts-check
// One measurement in a headless Chromium, with WebGPU over SwiftShader where a device is "webgpu"; prints one JSON line.
//
//   node tests/peers/browser/run.js '{"side": "apet", "device": "wasm", "method": "lora", "steps": 10, "warmup": 3}'
//
//   PACKAGES   folder with the node_modules of package.json
//   INITIAL    file that keeps theta's initial values: written by "apet", read by the others
//   CHROMIUM   the browser (default: /usr/bin/chromium)

import { readFile, writeFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const here = path.join(root, "tests/peers/browser");
const packages = process.env.PACKAGES ?? path.join(root, "target/peers/browser");
const [text] = process.argv.slice(2);
if (!text) throw new Error("expected the settings as JSON");
const settings = { warmup: 3, steps: 10, jit: true, initial: [], ...JSON.parse(text) };
const initial = process.env.INITIAL;
if (settings.side !== "apet" && initial) settings.initial = JSON.parse(await readFile(initial, "utf8"));

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
/** Where an address is found. @param {string} address */
function place(address) {
  if (address.startsWith("/node_modules/")) return path.join(packages, address);
  if (address.startsWith("/pkg/")) return path.join(root, "web/pkg/lab", address.slice(5));
  return path.join(here, address);
}
const server = http.createServer(async ({ url }, response) => {
  const address = new URL(url ?? "/", "http://127.0.0.1").pathname;
  // TensorFlow.js takes two threads where memory may be shared.
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
  try {
    const type = TYPES[/** @type {keyof typeof TYPES} */ (path.extname(address))];
    if (type) response.setHeader("Content-Type", type);
    if (address === "/favicon.ico") response.end();
    else if (address === "/settings.json") response.end(JSON.stringify(settings));
    else if (address === "/config.json") response.end(await config());
    else response.end(await readFile(place(address)));
  } catch {
    response.writeHead(404).end();
  }
});
/** The fixture's, with the GELU that the others have. */
async function config() {
  const known = JSON.parse(await readFile(path.join(root, "tests/fixtures/s1/config.json"), "utf8"));
  return JSON.stringify({ ...known, hidden_act: "gelu_new" });
}

await new Promise((ready) => server.listen(0, "127.0.0.1", () => ready(undefined)));
const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
});
/** @type {Record<string, unknown>} */
let result = {};
try {
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && console.error(message.text()));
  const failed = new Promise((_, fail) => page.on("pageerror", fail));
  await page.goto(`http://127.0.0.1:${port}/${settings.side}.html`);
  await Promise.race([failed, page.waitForFunction(() => "result" in window, undefined, { timeout: 590_000, polling: 500 })]);
  result = await page.evaluate(() => /** @type {{ result?: any }} */ (window).result);
} finally {
  await browser.close();
  server.close();
}
if (result.error) throw new Error(String(result.error));
const { initial: values, ...rest } = result;
if (settings.side === "apet" && initial) await writeFile(initial, String(values));
const { initial: _, ...asked } = settings;
console.log(JSON.stringify({ ...asked, ...rest }));
