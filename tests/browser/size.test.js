// @ts-check
// The download size of the built page, compressed as a server would.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const page = process.env.APET_PAGE ?? fileURLToPath(new URL("../../web/dist", import.meta.url));

/** Compressed bytes of the files whose name matches `pattern`. @param {RegExp} pattern */
async function packed(pattern) {
  const assets = await readdir(path.join(page, "assets"));
  const files = ["index.html", ...assets.map((name) => `assets/${name}`)].filter((name) => pattern.test(name));
  assert.ok(files.length > 0, String(pattern));
  let bytes = 0;
  for (const name of files) bytes += gzipSync(await readFile(path.join(page, name))).length;
  return bytes;
}

for (const [what, pattern, most] of /** @type {const} */ ([
  // 4.0 and 0.6 MB until GPT-NeoX, DoRA and the registry of figures. Results has two sets of exports for figures until
  // the page draws the registry's.
  ["the wasm of the Lab", /apet_web.*\.wasm$/, 4_050_000],
  ["the wasm of Results", /apet_view.*\.wasm$/, 620_000],
  ["the page's code without wasm", /\.(html|js|css)$/, 250_000],
])) {
  test(`${what} is under ${most / 1000} kB packed`, async (t) => {
    const bytes = await packed(pattern);
    t.diagnostic(`${bytes} bytes`);
    assert.ok(bytes < most, `${bytes} bytes`);
  });
}
