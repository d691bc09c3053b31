// @ts-check
// The memory of long training with pauses does not grow.
//
//   APET_SOAK_MINUTES  minutes on each device (default: 1; `cargo xtask soak` uses 30)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { choose, file, newUser, open, RUN_MS, SLOW_MS, status, step, storedRecords, trainButton } from "./harness.js";

const MINUTES = Number(process.env.APET_SOAK_MINUTES ?? 1);

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

/** @typedef {import("playwright-core").Page} Page */

const press = (/** @type {Page} */ page, /** @type {string} */ name) =>
  page.getByRole("button", { name, exact: true }).click();

/** Checks that the maximum of the second half exceeds that of the first by at most `slack`. @param {number[]} values @param {number} slack @param {string} what */
function flat(values, slack, what) {
  const half = Math.floor(values.length / 2);
  const [first, second] = [Math.max(...values.slice(0, half)), Math.max(...values.slice(half))];
  assert.ok(second <= first + slack, `${what} grows: at most ${first}, then ${second}: ${some(values)}`);
}

/** Ten evenly spaced values, including the last. @param {number[]} values */
const some = (values) => values.filter((_, i) => (values.length - 1 - i) % Math.ceil(values.length / 10) === 0).join(" ");

test(`${MINUTES} min of runs on cpu, paused and resumed: neither the heap nor the wasm memory grows`, { timeout: MINUTES * 60_000 + RUN_MS }, async (t) => {
  const { context, page, wrong } = await newUser(place);
  const devtools = await context.newCDPSession(page);
  await devtools.send("HeapProfiler.enable");
  const heap = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    const { usedSize } = await devtools.send("Runtime.getHeapUsage");
    const { nodes } = await devtools.send("Memory.getDOMCounters");
    return { usedSize, nodes };
  };
  await choose(page, { steps: 120, every: 30 });
  /** @type {{ usedSize: number, nodes: number, wasm: number }[]} */
  const rounds = [];
  const until = Date.now() + MINUTES * 60_000;
  // Each round overwrites the same run: only leaks accumulate.
  while (Date.now() < until || rounds.length < 6) {
    await trainButton(page).click();
    await step(page, 5);
    await press(page, "Pause");
    await status(page, /Paused/);
    await press(page, "Resume");
    await status(page, /^Done after 120 steps/);
    const records = await storedRecords(page);
    assert.equal(records.length, 1);
    rounds.push({ ...(await heap()), wasm: records[0]?.at(-1)?.peak_bytes ?? 0 });
  }
  // The Worker's first runs warm up caches and the allocator.
  const warm = rounds.slice(2);
  const of = (/** @type {"usedSize" | "nodes" | "wasm"} */ name) => warm.map((round) => round[name]);
  t.diagnostic(
    `${rounds.length} rounds; heap ${some(of("usedSize"))} bytes, nodes ${some(of("nodes"))}, wasm ${some(of("wasm"))} bytes`,
  );
  assert.ok(Math.max(...of("wasm")) > 0, "wasm's memory is in the record");
  flat(of("wasm"), 0, "wasm's memory");
  flat(of("usedSize"), 400_000, "the page's heap");
  flat(of("nodes"), 300, "the page's nodes");
  assert.deepEqual(wrong, []);
  await context.close();
});

test(`${MINUTES} min of a run on WebGPU, paused and resumed: the number of live buffers does not grow`, { timeout: MINUTES * 60_000 + SLOW_MS }, async (t) => {
  const { context, page } = await newUser(place);
  const adapter = page.getByTestId("adapter").filter({ hasNotText: "Looking" });
  if (/No WebGPU/.test((await adapter.textContent({ timeout: 60_000 })) ?? "")) {
    t.skip("this browser has no WebGPU adapter");
    return context.close();
  }
  page.on("worker", (worker) => void worker.evaluate(count).catch(() => {}));
  for (const worker of page.workers()) await worker.evaluate(count).catch(() => {});
  await choose(page, { steps: 100_000, every: 100_000, device: "webgpu" });
  const rows = Array.from({ length: 40 }, (_, i) => (i % 2 ? "good film,1" : "bad food,0"));
  await page.getByTestId("own-data").setInputFiles(file("few.csv", ["text,label", ...rows].join("\n")));
  await page.getByTestId("counts").getByText("36", { exact: true }).waitFor({ timeout: RUN_MS });
  await page.getByLabel("Batch size").fill("4");
  await trainButton(page).click();
  await step(page, 16, SLOW_MS);
  const worker = page.workers().at(-1);
  assert.ok(worker);
  /** @type {{ live: number, bytes: number, made: number }[]} */
  const seen = [];
  const until = Date.now() + MINUTES * 60_000;
  while (Date.now() < until || seen.length < 6) {
    const at = Number(/Step ([\d,]+)/.exec((await page.getByTestId("status").textContent()) ?? "")?.[1]?.replace(",", "") ?? 0);
    await step(page, at + 8, SLOW_MS);
    await press(page, "Pause");
    await status(page, /Paused/);
    seen.push(await worker.evaluate(() => /** @type {any} */ (self).buffersOfTest));
    await press(page, "Resume");
  }
  const of = (/** @type {"live" | "bytes" | "made"} */ name) => seen.map((one) => one[name]);
  t.diagnostic(`${seen.length} pauses; buffers ${some(of("live"))}, bytes ${some(of("bytes"))}, made ${some(of("made"))}`);
  assert.ok((of("live")[0] ?? 0) > 0, "the test counts");
  // Each read-back has its own buffer, which is freed after reading.
  flat(of("live"), 8, "buffers");
  flat(of("bytes"), 1 << 20, "bytes of buffers");
  await press(page, "Stop");
  await context.close();
});

/** Counts the live buffers of a Worker's devices, and their bytes. */
function count() {
  const scope = /** @type {any} */ (self);
  if (scope.buffersOfTest || !scope.GPUDevice) return;
  const found = (scope.buffersOfTest = { live: 0, bytes: 0, made: 0 });
  const gone = (/** @type {number} */ size) => {
    found.live -= 1;
    found.bytes -= size;
  };
  // A buffer that is dropped counts as destroyed once it is collected.
  const collected = new FinalizationRegistry(gone);
  const create = scope.GPUDevice.prototype.createBuffer;
  scope.GPUDevice.prototype.createBuffer = function (/** @type {{ size: number }} */ descriptor) {
    const buffer = create.call(this, descriptor);
    found.live += 1;
    found.bytes += descriptor.size;
    found.made += 1;
    collected.register(buffer, descriptor.size, buffer);
    return buffer;
  };
  const destroy = scope.GPUBuffer.prototype.destroy;
  scope.GPUBuffer.prototype.destroy = function () {
    if (collected.unregister(this)) gone(this.size);
    return destroy.call(this);
  };
}
