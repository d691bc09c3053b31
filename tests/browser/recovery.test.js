// @ts-check
// A run survives the end of its Worker: it resumes from its checkpoint, and notes the reason.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { becomes, choose, eventually, file, newUser, open, RUN_MS, SLOW_MS, status, step, storedRecords, trainButton } from "./harness.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

const STEPS = 90;

/**
 * Checks that a record is complete: every step (some repeated after a resume), one header, a note of
 * the resume, and a summary.
 * @param {import("playwright-core").Page} page
 */
async function whole(page, planned = STEPS) {
  const records = await storedRecords(page);
  assert.equal(records.length, 1);
  const record = records[0] ?? [];
  const steps = new Set(record.filter((line) => line.kind === "step").map((line) => line.step));
  assert.equal(steps.size, planned, "every step is in the record");
  assert.equal(record.filter((line) => line.kind === "header").length, 1);
  assert.ok(
    record.some((line) => line.kind === "note" && /resum/i.test(line.text)),
    "a note says that it was resumed",
  );
  assert.equal(record.at(-1)?.status, "done");
}

/**
 * Trains, breaks a Worker after the first checkpoint, and waits for the end.
 * @param {string} name
 * @param {(worker: import("playwright-core").Worker) => Promise<unknown>} breakIt
 * @param {number} at index of the Worker
 */
const brokenWorker = (name, breakIt, at = 0) =>
  test(name, async () => {
    const { context, page } = await newUser(place);
    await choose(page, { steps: STEPS, every: 10 });
    await trainButton(page).click();
    await step(page, 15);
    // The main Worker comes first, then those of the pool.
    const worker = page.workers().at(at);
    assert.ok(worker);
    // The Worker may end before it can answer.
    await breakIt(worker).catch(() => {});
    await page
      .getByText(/^Resumed in a new Worker: /)
      .first()
      .waitFor({ timeout: 60_000 });
    await status(page, new RegExp(`^Done after ${STEPS} steps`));
    await whole(page);
    await context.close();
  });

const close = (/** @type {import("playwright-core").Worker} */ worker) => worker.evaluate(() => self.close());
brokenWorker("a Worker that ends without an event", close);
brokenWorker("a Worker of the pool that ends without an event", close, -1);

brokenWorker("a trap", (worker) =>
  worker.evaluate(() => {
    // The smallest module whose only function is `unreachable`.
    const bytes = new Uint8Array([
      0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 5, 1, 3, 0, 0, 11,
    ]);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    setTimeout(/** @type {() => void} */ (exports.f));
  }),
);

test("a reloaded page lists the interrupted run and resumes it", async () => {
  const { context, page } = await newUser(place);
  await choose(page, { steps: STEPS, every: 10 });
  await trainButton(page).click();
  await step(page, 25);
  await page.reload();
  const left = page.getByRole("region", { name: "Interrupted" });
  await left.getByText(/ladder-nano · sentences · step \d+ of 90/).waitFor();
  await left.getByRole("button", { name: "Resume" }).click();
  await status(page, new RegExp(`^Done after ${STEPS} steps`));
  await whole(page);
  await eventually(async () => assert.equal(await left.count(), 0, "it is no longer listed"));
  await context.close();
});

test("a browser without WebGPU shows that, and trains on the processor", async () => {
  const without = await open({ webgpu: false });
  const { context, page, wrong } = await newUser(without);
  await page.getByTestId("adapter").filter({ hasText: "No WebGPU" }).waitFor({ timeout: 60_000 });
  await becomes(page.getByLabel("WebGPU"), ":disabled");
  await choose(page, { steps: 4, every: 4 });
  await trainButton(page).click();
  await status(page, /^Done after 4 steps/);
  assert.deepEqual(wrong, []);
  await context.close();
  await without.close();
});

test("a full store stops the run with an error, and the run resumes when there is space", async () => {
  const { context, page } = await newUser(place);
  const devtools = await context.newCDPSession(page);
  const origin = new URL(place.url).origin;
  const quota = (/** @type {number | undefined} */ quotaSize) =>
    devtools.send("Storage.overrideQuotaForOrigin", { origin, ...(quotaSize !== undefined && { quotaSize }) });
  // Space for the model (1.4 MB) and one checkpoint; Chromium allocates it in units of 1 MB.
  await choose(page, { steps: STEPS, every: 10, count: 60_000 });
  await quota(2_500_000);
  await trainButton(page).click();
  const problem = page.getByTestId("problem").filter({ hasText: /space/ });
  await problem.waitFor({ timeout: 60_000 });
  assert.match((await problem.textContent()) ?? "", /\.(jsonl|safetensors): .*space.*resume/);
  await quota(undefined);
  await page.getByRole("region", { name: "Interrupted" }).getByRole("button", { name: "Resume" }).click();
  await problem.waitFor({ state: "detached" });
  await status(page, new RegExp(`^Done after ${STEPS} steps`));
  await whole(page);
  await context.close();
});

test("a lost WebGPU device", async (t) => {
  const { context, page } = await newUser(place);
  const adapter = page.getByTestId("adapter").filter({ hasNotText: "Looking" });
  if (/No WebGPU/.test((await adapter.textContent({ timeout: 60_000 })) ?? "")) {
    t.skip("this browser has no WebGPU adapter");
    return context.close();
  }
  // The device is recorded when the Worker's wasm requests it, to be destroyed later.
  page.on("worker", (worker) => void worker.evaluate(remember).catch(() => {}));
  for (const worker of page.workers()) await worker.evaluate(remember).catch(() => {});
  // A software adapter is slow for every kernel: few steps on few short texts.
  await choose(page, { steps: 12, every: 4, device: "webgpu" });
  const rows = Array.from({ length: 40 }, (_, i) => (i % 2 ? "good film,1" : "bad food,0"));
  await page.getByTestId("own-data").setInputFiles(file("few.csv", ["text,label", ...rows].join("\n")));
  await page.getByTestId("counts").getByText("36", { exact: true }).waitFor({ timeout: RUN_MS });
  await page.getByLabel("Batch size").fill("4");
  await trainButton(page).click();
  await step(page, 8, SLOW_MS);
  const destroyed = await page
    .workers()
    .at(-1)
    ?.evaluate(() => {
      const devices = /** @type {any} */ (self).devicesOfTest ?? [];
      for (const device of devices) device.destroy();
      return devices.length;
    });
  assert.ok(destroyed, "the test found the device");
  await page
    .getByText(/^Resumed in a new Worker: /)
    .first()
    .waitFor({ timeout: SLOW_MS });
  await status(page, /^Done after 12 steps/, SLOW_MS);
  await whole(page, 12);
  await context.close();
});

function remember() {
  const scope = /** @type {any} */ (self);
  if (scope.devicesOfTest || !scope.GPUAdapter) return;
  scope.devicesOfTest = [];
  const request = scope.GPUAdapter.prototype.requestDevice;
  scope.GPUAdapter.prototype.requestDevice = async function (/** @type {unknown[]} */ ...args) {
    const device = await request.apply(this, args);
    scope.devicesOfTest.push(device);
    return device;
  };
}
