// @ts-check
// The cost of a step in counts, and in ratios within one run: no test of absolute speed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const script = fileURLToPath(new URL("../peers/browser/run.js", import.meta.url));

/**
 * Steps of 2 layers of width 128 on 8 x 64 tokens (tests/peers/browser), measured in a separate Chromium.
 * @param {"webgpu" | "wasm"} device @param {string} method @param {boolean} alone without a pool of Workers
 */
async function measured(device, method, alone = false) {
  const settings = JSON.stringify({ side: "apet", device, method, alone, steps: 6, warmup: 4 });
  const { stdout } = await promisify(execFile)("node", [script, settings], { maxBuffer: 1 << 24 });
  const found = JSON.parse(stdout);
  // Other load makes steps slower, never faster.
  return { ...found, least: Math.min(...found.step_ms) };
}

test("a step on WebGPU waits once, in few submissions, and compiles nothing after the first", async (t) => {
  const lora = await measured("webgpu", "lora");
  t.diagnostic(JSON.stringify({ of_a_step: lora.of_a_step, pipelines: lora.pipelines, first_step_ms: lora.first_step_ms }));
  const { dispatches, submissions, reads, writes, buffers } = lora.of_a_step;
  assert.equal(reads, 1, "the loss");
  assert.ok(dispatches <= 170, `${dispatches} dispatches`);
  assert.ok(submissions <= 12, `${submissions} submissions`);
  assert.ok(writes <= 8, `${writes} writes: the batch, and AdamW's counters`);
  assert.ok(buffers <= 1, `${buffers} buffers made: the one that is read back`);
  assert.ok(lora.first_pipelines <= 45, `${lora.first_pipelines} pipelines before the first step's end`);
  assert.ok(lora.pipelines - lora.first_pipelines <= 3, "only the separate forward pass needs others");
});

test("APET and LoRA cost less than full tuning on wasm and WebGPU, and the losses of both devices agree", async (t) => {
  /** @type {Record<string, number[]>} */
  const losses = {};
  for (const device of /** @type {const} */ (["wasm", "webgpu"])) {
    const full = await measured(device, "full");
    for (const method of ["lora", "apet"]) {
      const few = await measured(device, method);
      t.diagnostic(`${device}: ${method} ${few.least.toFixed(0)} ms, full tuning ${full.least.toFixed(0)} ms`);
      // On such a small model, APET's sparse gradients cost as much as dense ones.
      const most = method === "lora" ? 0.95 : 1.6;
      assert.ok(few.least < most * full.least, `${method}: ${few.least} ms, full tuning ${full.least} ms`);
      losses[method] ??= few.losses;
      for (const [at, loss] of few.losses.entries()) {
        const other = losses[method]?.[at] ?? NaN;
        assert.ok(Math.abs(loss - other) <= 1e-3 * other, `${method}, step ${at}: ${loss}, ${other} on wasm`);
      }
      assert.ok(few.losses.at(-1) < few.losses[0], "the loss falls");
    }
  }
});

test("a second Worker makes a step on wasm faster, and changes nothing else", async (t) => {
  const least = { one: Infinity, two: Infinity };
  for (let round = 0; round < 3; round++) {
    const [one, two] = [await measured("wasm", "full", true), await measured("wasm", "full")];
    least.one = Math.min(least.one, one.least);
    least.two = Math.min(least.two, two.least);
    for (const [at, loss] of two.losses.entries()) {
      assert.ok(Math.abs(loss - one.losses[at]) <= 1e-4 * loss, `step ${at}: ${loss}, ${one.losses[at]} alone`);
    }
  }
  t.diagnostic(`one Worker ${least.one.toFixed(0)} ms, two ${least.two.toFixed(0)} ms`);
  if (availableParallelism() > 1) assert.ok(least.two < 0.95 * least.one);
});
