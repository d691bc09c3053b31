// @ts-check
// The same spec in the tab and natively: the same theta, the same batches, the same losses;
// and every operation and gradient of the tab's devices compared with double precision.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { SLOW_MS, choose, newUser, open, status, storedRecords, trainButton } from "./harness.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

const STEPS = 20;
const TOKENS = 6;

/**
 * @param {{ kind: string, [field: string]: any }[]} record
 * @param {string} field
 * @returns {number[]}
 */
const ofSteps = (record, field) => record.filter((line) => line.kind === "step").map((line) => line[field]);

/** @param {any} spec */
async function native(spec) {
  const file = path.join(place.home, "spec.json");
  await writeFile(file, JSON.stringify(spec));
  const env = { ...process.env, APET_HOME: place.home };
  const words = ["run", "--spec", file, "--again", "--json"];
  const { stdout } = await promisify(execFile)(String(process.env.APET_BIN), words, { env });
  const { run } = JSON.parse(stdout).header;
  const text = await readFile(path.join(place.home, "runs", `${run}-cpu.jsonl`), "utf8");
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** The tokens that the native binary generates after two texts of different lengths. @param {string} model */
async function written(model) {
  const texts = ["--prompt", "The food", "--prompt", "It was good and the service was not"];
  const words = ["generate", "--json", "--model", model, "--most", String(TOKENS), ...texts];
  const env = { ...process.env, APET_HOME: place.home };
  return JSON.parse((await promisify(execFile)(String(process.env.APET_BIN), words, { env })).stdout);
}

/**
 * Trains in the tab, then the same spec natively, and compares the two records.
 * @param {import("playwright-core").Page} page
 * @param {number} steps
 */
async function agrees(page, steps) {
  await trainButton(page).click();
  await status(page, new RegExp(`^Done after ${steps} steps`), SLOW_MS);
  const [tab] = await storedRecords(page);
  assert.ok(tab);
  const own = await native(tab[0]?.spec);
  assert.equal(own[0]?.run, tab[0]?.run, "one run id");
  assert.equal(own[0]?.theta.positions_hash, tab[0]?.theta.positions_hash, "the same positions");
  assert.equal(own[0]?.task.data_hash, tab[0]?.task.data_hash, "the same rows");
  assert.equal(own[0]?.model.weights_hash, tab[0]?.model.weights_hash, "the same weights");
  for (const [field, most] of /** @type {const} */ ([
    ["loss", 1e-3],
    ["grad_norm", 1e-3],
  ])) {
    const expected = ofSteps(own, field);
    /** @type {number[]} */
    const off = ofSteps(tab, field).map((value, i) => Math.abs(value / Number(expected[i]) - 1));
    assert.equal(off.length, steps);
    assert.ok(Math.max(...off) <= most, `${field}: off by ${off.join(", ")}`);
    console.log(`${field}: differs from the native run by at most ${Math.max(...off).toExponential(1)}`);
  }
  assert.deepEqual(ofSteps(tab, "tokens"), ofSteps(own, "tokens"), "the same batches");
  for (const record of [tab, own]) {
    assert.ok(record.at(-1)?.peak_bytes > 100_000, "at least the weights were held");
  }
}

/**
 * Checks that every spec of the golden file selects the same positions in wasm as natively.
 * @param {import("playwright-core").Page} page
 * @param {string} model
 */
async function selectsTheSame(page, model) {
  const file = new URL("../fixtures/positions.json", import.meta.url);
  /** @type {any[]} */
  const all = JSON.parse(await readFile(file, "utf8"));
  const cases = all.filter(({ spec }) => spec.model === model);
  assert.ok(cases.length >= 8);
  const worker = page.workers().at(-1);
  for (const { spec, trainable_parameters, positions_hash } of cases) {
    const asked = { call: "describe", args: [JSON.stringify(spec)] };
    const found = await worker?.evaluate(callInWorker, asked);
    assert.deepEqual([found.trainable_parameters, found.positions_hash], [trainable_parameters, positions_hash], JSON.stringify(spec.method));
  }
}

// One run per method: ADD, CONCAT and PLUG do the same in the tab as natively.
const METHODS = ["Prompt", "Adapter", "IA3", "LayerNorm tuning", "LoRA", "BitFit"];
test("cpu: every method trains in the tab as it does natively", async (t) => {
  if (!process.env.APET_BIN) return t.skip("needs APET_BIN, to run the same spec natively");
  for (const method of METHODS) {
    const { context, page, wrong } = await newUser(place);
    await choose(page, { steps: STEPS, every: STEPS, batch: 4, tokens: 16 });
    await page.getByLabel("Method", { exact: true }).selectOption({ label: method });
    await agrees(page, STEPS);
    assert.deepEqual(wrong, [], method);
    await context.close();
  }
});

for (const device of /** @type {const} */ (["cpu", "webgpu"])) {
  test(`${device}: operations and gradients agree with double precision, runs with native ones`, async (t) => {
    if (!process.env.APET_BIN) return t.skip("needs APET_BIN, to run the same spec natively");
    const { context, page, wrong } = await newUser(place);
    await choose(page, { model: "bert-tiny", steps: STEPS, every: STEPS, count: 2000, device, batch: 4, tokens: 16 });
    const worker = page.workers().at(-1);
    assert.ok(worker);
    const checks = await worker.evaluate(callInWorker, { call: "check", args: [] });
    assert.ok(checks.length > 20);
    assert.deepEqual(
      checks.filter((/** @type {any} */ check) => !check.passes),
      [],
    );
    await agrees(page, STEPS);
    await selectsTheSame(page, "bert-tiny");
    assert.deepEqual(wrong, []);
    await context.close();
  });

  // The parity tests compare native runs with transformers, so agreement with them suffices here.
  // Label words use T5's decoder, and a language model's own loss.
  const learns = [
    ["bloom-tiny", "class_head"],
    ["t5-tiny", "label_words"],
    ...(device === "cpu" ? [["bloom-tiny", "label_words"]] : []),
  ];
  for (const [model = "", objective = ""] of learns) {
    test(`${device}: ${model} learns ${objective} as it does natively`, async (t) => {
      if (!process.env.APET_BIN) return t.skip("needs APET_BIN, to run the same spec natively");
      const { context, page, wrong } = await newUser(place);
      // A software adapter takes seconds per step.
      const steps = device === "cpu" ? STEPS : 4;
      await choose(page, { model, objective, steps, every: steps, count: 2000, device, batch: 4, tokens: 16 });
      await agrees(page, steps);
      if (objective === "class_head") await selectsTheSame(page, model);
      const { prompt_ids, ids } = await written(model);
      const worker = page.workers().at(-1);
      const found = await worker?.evaluate(callInWorker, { call: "generate", args: [prompt_ids, TOKENS] });
      assert.deepEqual(found, ids, "the same greedy tokens");
      assert.deepEqual(wrong, []);
      await context.close();
    });
  }
}

/**
 * Calls the Worker as the page does, and intercepts the reply.
 * @param {{ call: string, args: any[] }} asked
 * @returns {Promise<any>}
 */
function callInWorker({ call, args }) {
  return new Promise((resolve, reject) => {
    const scope = /** @type {any} */ (self);
    const post = scope.postMessage;
    scope.postMessage = (/** @type {any} */ reply) => {
      if (reply.id !== -1) return post.call(scope, reply);
      scope.postMessage = post;
      if (reply.error) reject(new Error(reply.error));
      else resolve(reply.value);
    };
    scope.onmessage({ data: { id: -1, call, args } });
  });
}
