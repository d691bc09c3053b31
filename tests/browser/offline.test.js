// @ts-check
// The built page in a folder, on a plain file server: the first click on Train works.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { newUser, open, status, storedRecords, trainButton } from "./harness.js";

const PAGE = process.env.APET_PAGE ?? fileURLToPath(new URL("../../web/dist", import.meta.url));
/** @type {Record<string, string>} */
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
  ".json": "application/json",
  ".svg": "image/svg+xml",
};

/** @type {import("./harness.js").Place} */
let place;
/** @type {import("node:http").Server} */
let files;
before(async () => {
  place = await open();
  // Under a sub-path, as on many hosts.
  files = createServer(async (request, response) => {
    const asked = new URL(request.url ?? "/", "http://x").pathname.replace(/^\/lab\//, "");
    const file = path.join(PAGE, path.normalize(asked) === "." ? "index.html" : path.normalize(asked));
    try {
      const body = await readFile(file);
      const type = TYPES[path.extname(file)] ?? "application/octet-stream";
      response.writeHead(200, { "content-type": type, "content-length": body.length });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((ready) => files.listen(0, "127.0.0.1", () => ready(undefined)));
});
after(async () => {
  files?.close();
  await place?.close();
});

test("the first click on Train works in a folder of files, without any other host", async () => {
  const { port } = /** @type {import("node:net").AddressInfo} */ (files.address());
  const url = `http://127.0.0.1:${port}/lab/`;
  const { context, page, wrong } = await newUser({ ...place, url });
  // Only `apet serve` has records and events; the page requests them once.
  const without = (/** @type {string} */ line) => !/\/api\/(records|events)/.test(line);
  await trainButton(page).click();
  const ended = await status(page, /^Done after \d+ steps/);
  assert.match(ended, /dev \d+\.\d %.*test \d+\.\d %/);
  const [record] = await storedRecords(page);
  const spec = record?.[0]?.spec;
  assert.deepEqual([spec.model, spec.task.name], ["ladder-micro", "sentences"]);
  assert.deepEqual(wrong.filter(without), []);
  await context.close();
});
