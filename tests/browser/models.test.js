// @ts-check
// How models get into the tab: from the host, from a hub, from the user's folder.
// The tests assert requests and bytes, never times.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, before as atFirst, test } from "node:test";
import { before, claimed, fixture, hub, serve, shards } from "./counting-server.js";
import { RUN_MS, choose as chooseAny, eventually, newUser, open, shot, status, trainButton } from "./harness.js";

const WEIGHTS = "/models/bert-tiny/model.safetensors";
const FOLDER = fileURLToPath(new URL("../fixtures/bert-tiny", import.meta.url));

/** @type {import("./harness.js").Place} */
let place;

/** The same as `choose`, with bert-tiny, whose files are fixtures. @type {typeof chooseAny} */
const choose = (page, of = {}) => chooseAny(page, { model: "bert-tiny", ...of });
const config = await fixture("bert-tiny/config.json");
const tokenizer = await fixture("bert-tiny/tokenizer.json");
const weights = await fixture("bert-tiny/model.safetensors");
atFirst(async () => (place = await open()));
after(() => place?.close());

/** The length of a safetensors file's prefix: its length field and its header. */
const header = (/** @type {Buffer} */ file) => 8 + Number(file.readBigUInt64LE(0));

/** A model's files on a hub, at /org/NAME/. @param {string} name @param {Record<string, any>} [changes] */
const files = (name, changes = {}) => ({
  [`/org/${name}/config.json`]: config,
  [`/org/${name}/tokenizer.json`]: tokenizer,
  [`/org/${name}/model.safetensors`]: weights,
  ...Object.fromEntries(Object.entries(changes).map(([file, body]) => [`/org/${name}/${file}`, body])),
});

/**
 * A page whose requests are counted, with a hub that its policy allows.
 * @param {import("./counting-server.js").Counting} [at]
 * @param {(host: import("./counting-server.js").Counting) => void} [prepare] prepares the host before the page opens
 */
async function visit(at, prepare) {
  const host = await before(place.url, at?.url.slice(0, -1));
  prepare?.(host);
  const { context, page, wrong } = await newUser({ ...place, url: host.url });
  const close = async () => {
    await context.close();
    await host.close();
    await at?.close();
  };
  /** Errors other than requests to the hub, and the browser's messages about refused ones. */
  const others = () => wrong.filter((w) => !(at && w.includes(at.url)) && !/Failed to load resource/.test(w));
  return { host, context, page, others, close };
}

/** @typedef {import("playwright-core").Page} Page */

/** Types an address of a model. @param {Page} page @param {string} address */
async function get(page, address) {
  await page.getByRole("button", { name: "More models…" }).click();
  await page.getByLabel(/Repository on the/).fill(address);
  await page.getByRole("button", { name: "Get", exact: true }).click();
}

/** Waits until a model is loaded and counted. @param {Page} page @param {string} model */
async function loaded(page, model) {
  await eventually(async () => assert.equal(await page.getByLabel("Pretrained model").inputValue(), model));
  const counted = page.locator(`[data-testid=counts][data-model="${model}"]`).getByText("classes");
  const refused = page.getByTestId("problem");
  await counted.or(refused).first().waitFor({ timeout: 60_000 });
  assert.deepEqual(await refused.allTextContents(), []);
  await counted.waitFor();
}

/** The problem that the page shows. @param {Page} page */
async function problem(page) {
  const line = page.getByTestId("problem");
  await line.waitFor({ timeout: RUN_MS });
  const text = (await line.textContent()) ?? "";
  assert.match(text, /^[^\n]{20,600}$/);
  return text;
}

/** The sizes of a model's files in the store, by name. @param {Page} page @param {string} model */
const kept = (page, model) =>
  page.evaluate(async (name) => {
    /** @type {Record<string, number>} */
    const found = {};
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle("models");
    for await (const handle of (await models.getDirectoryHandle(name)).values())
      if (handle instanceof FileSystemFileHandle) found[handle.name] = (await handle.getFile()).size;
    return found;
  }, model);

/** Waits until the store has at least `bytes` of bert-tiny's weights. @param {Page} page @param {number} bytes */
async function came(page, bytes) {
  for (;;) {
    const line = await page.getByTestId("status").textContent();
    if (/Downloading bert-tiny: \d/.test(line ?? "")) break;
    await page.waitForTimeout(20);
  }
  while (((await kept(page, "bert-tiny"))["model.safetensors"] ?? 0) < bytes) await page.waitForTimeout(50);
}

test("a model of the host is downloaded once, into the store, and used from there", async () => {
  let release = () => {};
  const { host, page, others, close } = await visit(undefined, (host) => (release = host.holdAt(WEIGHTS, 200_000)));
  await page.getByRole("progressbar", { name: "Download of bert-tiny" }).waitFor({ timeout: RUN_MS });
  await status(page, /^Downloading bert-tiny: 0\.2 of 0\.4 MB, \d+\.\d MB\/s, .* left/);
  await shot(page, "models-downloading");
  release();
  await choose(page);
  assert.equal(host.sent(WEIGHTS), weights.length, "every byte once");
  assert.deepEqual(
    host.of(WEIGHTS).map((s) => s.range),
    ["bytes=0-7", `bytes=8-${header(weights) - 1}`, `bytes=${header(weights)}-`],
  );
  const there = await kept(page, "bert-tiny");
  assert.equal(there["model.safetensors"], weights.length);
  assert.equal(there["tokenizer.json"], tokenizer.length);

  const before = host.seen.length;
  await page.reload();
  await choose(page);
  const again = host.seen.slice(before).filter((s) => s.path.startsWith("/models/bert-tiny/"));
  assert.deepEqual(
    again.map((s) => [s.range, s.sent]),
    Array(3).fill(["bytes=0-0", 1]),
    "each file is only checked for changes",
  );

  // Without the server's models, the kept model is used.
  await choose(page, { model: "bloom-tiny", count: 100 });
  for (const file of ["config.json", "tokenizer.json", "model.safetensors"]) host.off.add(`/models/bert-tiny/${file}`);
  await choose(page, { steps: 2, every: 2 });
  await trainButton(page).click();
  await status(page, /^Done after 2 steps/);
  assert.equal(host.sent(WEIGHTS), weights.length + 1);
  assert.deepEqual(others(), []);
  await close();
});

test("an interrupted download, also by a reload, resumes from the kept bytes", async () => {
  const { host, page, close } = await visit(undefined, (host) => host.cutAt(WEIGHTS, 150_000));
  await choose(page);
  const [, , cut, rest, ...more] = host.of(WEIGHTS);
  const from = Number(/^bytes=(\d+)-$/.exec(rest?.range ?? "")?.[1]);
  assert.equal(cut?.sent, 150_000);
  assert.ok(from > header(weights), `resumes from ${from}`);
  assert.equal(rest?.sent, weights.length - from);
  assert.deepEqual(more, []);
  await close();

  let release = () => {};
  const second = await visit(undefined, (host) => (release = host.holdAt(WEIGHTS, 150_000)));
  await came(second.page, 100_000);
  await second.page.reload();
  release();
  await choose(second.page);
  const last = second.host.of(WEIGHTS).at(-1);
  assert.ok(Number(/^bytes=(\d+)-$/.exec(last?.range ?? "")?.[1]) >= 100_000, last?.range);
  assert.equal((await kept(second.page, "bert-tiny"))["model.safetensors"], weights.length);
  await second.close();
});

test("a cancelled download restarts only on request", async () => {
  let release = () => {};
  const { host, page, others, close } = await visit(undefined, (host) => (release = host.holdAt(WEIGHTS, 150_000)));
  await came(page, 100_000);
  await page.getByRole("button", { name: "Cancel download" }).click();
  await status(page, /^The download was cancelled; the downloaded part is kept/);
  await shot(page, "models-cancelled");
  release();
  const before = host.of(WEIGHTS).length;
  await page.getByLabel("Steps", { exact: true }).fill("7");
  await page.waitForTimeout(1000); // long enough for the form to settle
  assert.equal(host.of(WEIGHTS).length, before, "it does not restart by itself");
  await page.getByRole("button", { name: "Get the model" }).click();
  await loaded(page, "bert-tiny");
  const [ask, rest] = host.of(WEIGHTS).slice(before);
  assert.equal(ask?.sent, 1);
  assert.ok(Number(/^bytes=(\d+)-$/.exec(rest?.range ?? "")?.[1]) >= 100_000, rest?.range);
  assert.deepEqual(others(), []);
  await close();
});

test("a sharded model comes from an address, is listed, and can be removed", async () => {
  const { index, files: pieces } = shards(weights);
  const at = await hub(
    files("sharded", {
      "model.safetensors": 404,
      "model.safetensors.index.json": index,
      "model-00001-of-00002.safetensors": pieces[0],
      "model-00002-of-00002.safetensors": pieces[1],
    }),
  );
  const { page, others, close } = await visit(at);
  await choose(page, { steps: 1, every: 1 });
  await get(page, "sharded");
  assert.match((await page.locator("#model-address-says").textContent()) ?? "", /^"sharded": expected ORG\/REPO/);
  await page.getByLabel(/Repository on the/).fill(`${at.url}org/sharded`);
  await page.keyboard.press("Enter");
  await loaded(page, "sharded");
  await trainButton(page).click();
  await status(page, /^Done after 1 steps/);
  for (const [i, piece] of pieces.entries())
    assert.equal(at.sent(`/org/sharded/model-0000${i + 1}-of-00002.safetensors`), piece.length);

  // It is still complete for the next visit.
  await page.reload();
  await choose(page, { model: "sharded" });
  for (const [i, piece] of pieces.entries())
    assert.equal(at.sent(`/org/sharded/model-0000${i + 1}-of-00002.safetensors`), piece.length + 1);

  await page.getByRole("button", { name: "More models…" }).click();
  const list = page.getByRole("region", { name: "Kept in this browser" });
  await list.getByRole("listitem").filter({ hasText: "sharded 0.5 MB" }).waitFor();
  await eventually(async () => assert.equal(await list.getByRole("listitem").count(), 2));
  await shot(page, "models-dialog", false);
  await list.getByRole("button", { name: "Remove sharded" }).click();
  await list.getByRole("listitem").filter({ hasText: "sharded" }).waitFor({ state: "detached" });
  await assert.rejects(kept(page, "sharded"));
  assert.deepEqual(others(), []);
  await close();
});

test("the hub's repositories can be loaded, and its errors are shown", async () => {
  const { context, page, wrong } = await newUser(place); // the server's own policy
  /** @type {Record<string, Buffer>} */
  const there = Object.fromEntries(
    Object.entries(files("tiny")).map(([path, body]) => [path.replace("/org/tiny/", "/org/tiny/resolve/main/"), body]),
  );
  await context.route("https://huggingface.co/**", async (route) => {
    const { pathname } = new URL(route.request().url());
    const file = pathname.includes("/gated/") ? 401 : there[pathname];
    await route.fulfill(serve(file, route.request().headers().range));
  });
  await choose(page, { steps: 1, every: 1 });
  await get(page, "org/gated");
  assert.match(
    await problem(page),
    /^huggingface\.co\/org\/gated\/resolve\/main\/config\.json: .*401.*gated or private/,
  );
  await get(page, "org/nothing");
  await page
    .getByTestId("problem")
    .filter({ hasText: /org\/nothing.*the file does not exist; check the name/ })
    .waitFor();
  await get(page, "https://huggingface.co/org/tiny");
  await loaded(page, "tiny");
  await trainButton(page).click();
  await status(page, /^Done after 1 steps/);
  assert.deepEqual(
    wrong.filter((w) => /policy|uncaught/i.test(w)),
    [],
  );
  await get(page, "https://example.com/some/model");
  assert.match(await problem(page), /^example\.com: this page's Content-Security-Policy/);
  await context.close();
});

test("a model that does not fit is rejected before its weights are downloaded", async (t) => {
  const rows = 9_000_000; // 2.3 GB in f32, twice while it is read
  const large = claimed(weights, rows);
  const larger = claimed(weights, 30_000_000); // beyond 32 bits
  const wide = (/** @type {number} */ n) =>
    Buffer.from(config.toString().replace('"vocab_size": 512', `"vocab_size": ${n}`));
  const at = await hub({
    ...files("large", { "model.safetensors": large, "config.json": wide(rows) }),
    ...files("larger", { "model.safetensors": larger, "config.json": wide(30_000_000) }),
    ...files("other", { "config.json": Buffer.from(config.toString().replace('"bert"', '"mamba"')) }),
    ...files("mixed", {
      "config.json": Buffer.from(config.toString().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')),
    }),
  });
  const { page, close } = await visit(at);
  const bytes = 4 * 64 * rows;
  await choose(page);
  await get(page, `${at.url}org/large`);
  const all = large.size - large.head.length;
  const said = await problem(page);
  assert.match(said, /^large\/model\.safetensors: the tensors take 2\.30 GB/);
  assert.match(said, new RegExp(`needs 4\\.\\d\\d GB .* of memory, here are 3\\.22 GB \\(${3 * 2 ** 30} bytes\\)`));
  assert.ok(all >= bytes);
  assert.equal(at.sent("/org/large/model.safetensors"), large.head.length, "its header alone");
  await shot(page, "models-too-large");

  await get(page, `${at.url}org/larger`);
  await page
    .getByTestId("problem")
    .filter({ hasText: /^larger.*the tensors take 7\.68 GB/ })
    .waitFor();
  assert.equal(at.sent("/org/larger/model.safetensors"), larger.head.length);

  await get(page, `${at.url}org/other`);
  await page.getByTestId("problem").filter({ hasText: '"model_type": "mamba" is not supported' }).waitFor();
  await get(page, `${at.url}org/mixed`);
  await page
    .getByTestId("problem")
    .filter({ hasText: "encoder.layer.2.attention.self.query.weight is missing" })
    .waitFor();
  for (const name of ["other", "mixed"]) assert.equal(at.sent(`/org/${name}/model.safetensors`), header(weights), name);

  // The browser's quota for this site.
  const devtools = await page.context().newCDPSession(page);
  const origin = new URL(page.url()).origin;
  await devtools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1_300_000 });
  await page.getByLabel("Pretrained model").selectOption("t5-tiny");
  const full = page.getByTestId("problem").filter({ hasText: /^t5-tiny/ });
  await full.waitFor();
  assert.match(
    (await full.textContent()) ?? "",
    /^t5-tiny: the browser's storage quota for this site is exhausted: \d\.\d MB more are needed, \d\.\d MB are in use; remove models or runs\.$/,
  );
  await devtools.send("Storage.overrideQuotaForOrigin", { origin });

  if (await page.getByLabel("WebGPU").isDisabled()) t.diagnostic("no WebGPU adapter: its limit is not tested");
  else {
    await page.getByLabel("Pretrained model").selectOption("large");
    await page.getByLabel("WebGPU").check({ force: true });
    const line = page.getByTestId("problem").filter({ hasText: "binds at most" });
    await line.waitFor({ timeout: RUN_MS });
    assert.match(
      (await line.textContent()) ?? "",
      new RegExp(
        `word_embeddings\\.weight takes 2\\.30 GB \\(${bytes} bytes\\) in f32, this device binds at most \\d\\.\\d\\d GB \\(\\d+ bytes\\)`,
      ),
    );
    assert.equal(at.sent("/org/large/model.safetensors"), large.head.length + 1, "checked for changes");
  }
  await close();
});

test("a server without ranges, and invalid files", async () => {
  const at = await hub(files("plain"), { ranges: false });
  const { page, close } = await visit(at);
  await choose(page);
  await get(page, `${at.url}org/plain`);
  await loaded(page, "plain");
  assert.equal((await kept(page, "plain"))["model.safetensors"], weights.length);
  await close();

  const garbage = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 256));
  const wrong = await hub({
    ...files("a", { "config.json": garbage }),
    ...files("b", { "tokenizer.json": garbage }),
    ...files("c", { "model.safetensors": garbage }),
    ...files("d", { "model.safetensors": Buffer.alloc(0) }),
    ...files("e", { "model.safetensors": Buffer.from("<!doctype html><p>Not found") }),
    ...files("f", { "model.safetensors": 404, "model.safetensors.index.json": garbage }),
    ...files("g", { "model.safetensors": weights.subarray(0, 300_000) }),
    ...files("h", { "tokenizer.json": 404 }),
  });
  const second = await visit(wrong);
  await choose(second.page);
  for (const [name, says] of Object.entries({
    a: /^a\/config\.json: .*expected a JSON object/,
    b: /^b\/tokenizer\.json: .*expected a tokenizer\.json/,
    c: /^c\/model\.safetensors: found a header of \d+ bytes/,
    d: /^d\/model\.safetensors: .*\(file of 0 bytes\)/,
    e: /^e\/model\.safetensors: found a header of \d+ bytes/,
    f: /^f\/model\.safetensors\.index\.json: .*expected \{"weight_map"/,
    g: /^g\/model\.safetensors: found \d+ bytes of tensors, the header has \d+/,
    h: /h\/tokenizer\.json: the file does not exist/,
  })) {
    await get(second.page, `${wrong.url}org/${name}`);
    const line = second.page.getByTestId("problem").filter({ hasText: says });
    await line.waitFor({ timeout: 60_000 }).catch(async () => assert.match(await problem(second.page), says));
  }
  await second.close();
});

test("a folder of the user is a model, and is kept after a reload", async () => {
  const { host, page, others, close } = await visit();
  await choose(page, { steps: 1, every: 1 });
  await page.getByRole("button", { name: "More models…" }).click();
  await page.getByTestId("own-model").setInputFiles(FOLDER);
  await loaded(page, "bert-tiny-2"); // the host has a bert-tiny
  await trainButton(page).click();
  await status(page, /^Done after 1 steps/);
  const there = await kept(page, "bert-tiny-2");
  assert.deepEqual(Object.keys(there).sort(), ["config.json", "model.safetensors", "source.json", "tokenizer.json"]);
  await page.reload();
  await choose(page, { model: "bert-tiny-2", steps: 1, every: 1, seed: 2 });
  await trainButton(page).click();
  await status(page, /^Done after 1 steps/);
  assert.equal(host.of("/models/bert-tiny-2/model.safetensors").length, 0);
  assert.deepEqual(others(), []);
  await close();
});

test("a model can be dropped on the page", async () => {
  const { page, close } = await visit();
  await choose(page);
  await page.evaluate(
    ([config, tokenizer, weights]) => {
      const bytes = (/** @type {string | undefined} */ text) =>
        Uint8Array.from(atob(text ?? ""), (c) => c.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes(config)], "config.json"));
      data.items.add(new File([bytes(tokenizer)], "tokenizer.json"));
      data.items.add(new File([bytes(weights)], "model.safetensors"));
      dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
    },
    [config, tokenizer, weights].map((file) => file.toString("base64")),
  );
  await loaded(page, "own-model");
  await close();
});

test("tokenizers give the ids of the reference in the tab", async () => {
  const { page, close } = await visit();
  for (const { model, golden, count } of [
    { model: "bert-tiny", golden: "bert-tiny", count: 100 }, // WordPiece
    { model: "bloom-tiny", golden: "llama-tiny", count: 200 }, // byte-level BPE, the same tokenizer
    { model: "t5-tiny", golden: "t5-tiny", count: 300 }, // Unigram
  ]) {
    await choose(page, { model, count });
    const rows = JSON.parse((await fixture(`${golden}/tokens.json`)).toString());
    const found = await page
      .workers()
      .at(-1)
      ?.evaluate(
        (texts) =>
          new Promise((done) => {
            // Calls the Worker as the page does, and intercepts the reply.
            const post = self.postMessage;
            self.postMessage = (/** @type {any} */ reply) => {
              if (reply.id !== -1) return post.call(self, reply);
              self.postMessage = post;
              done(reply.value ?? reply.error);
            };
            self.onmessage?.(new MessageEvent("message", { data: { id: -1, call: "tokenize", args: [texts] } }));
          }),
        rows.map((/** @type {any} */ row) => row.text),
      );
    assert.deepEqual(
      found,
      rows.map((/** @type {any} */ row) => row.ids),
      model,
    );
  }
  await close();
});
