// @ts-check
// A new user trains, watches, reloads and compares.

import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { after, before, test } from "node:test";
import {
  address,
  becomes,
  choose,
  eventually,
  file,
  newUser,
  open,
  shot,
  status,
  step,
  storedRecords,
  toLab,
  toResults,
  trainButton,
} from "./harness.js";
import { nativeRecord } from "./native-record.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

const mean = (/** @type {number[]} */ x) => x.reduce((a, b) => a + b, 0) / x.length;

test("a new user trains, sees the loss fall, reloads, and compares with a native run", async () => {
  const { context, page, wrong } = await newUser(place);
  assert.match((await page.getByTestId("adapter").textContent()) ?? "", /adapter|WebGPU/);
  await choose(page, { steps: 60, every: 20, count: 20_000 });
  // Few enough to be memorised.
  await page.getByLabel("Training sentences").fill("32");
  await page.getByTestId("counts").getByText("32", { exact: true }).waitFor();
  await shot(page, "train-before");
  await trainButton(page).click();
  await step(page, 25);
  await shot(page, "train-during");
  const ended = await status(page, /^Done after 60 steps/);
  assert.match(ended, /dev \d+\.\d %.*test \d+\.\d %/);
  await page.getByRole("img", { name: /Training loss: .* at step 60/ }).waitFor();
  await shot(page, "train-after");

  const [record] = await storedRecords(page);
  assert.ok(record, "a record is kept");
  const losses = record.filter((line) => line.kind === "step").map((line) => line.loss);
  assert.equal(losses.length, 60);
  assert.ok(mean(losses.slice(-15)) < mean(losses.slice(0, 15)) / 4, `the loss falls: ${losses}`);
  assert.equal(record[0]?.theta.trainable_parameters, 20_000);
  assert.equal(record[0]?.device.host, "browser");
  const threads = Math.min(availableParallelism(), 4);
  if (threads > 1) assert.equal(record[0]?.device.adapter, `wasm SIMD, ${threads} threads`);
  assert.equal(record.at(-1)?.kind, "summary");

  await page.reload();
  await toResults(page);
  await page.getByRole("cell", { name: "this tab" }).waitFor();

  await page
    .getByTestId("open-records")
    .setInputFiles(
      file("native.jsonl", nativeRecord() + nativeRecord({ run: "00000000000000a2", seed: 2, test: 0.76 })),
    );
  await page.getByRole("cell", { name: "native.jsonl" }).first().waitFor();
  const draw = page.getByRole("checkbox", { name: /^Plot/ });
  await eventually(async () => assert.equal(await draw.count(), 3));
  for (let i = 0; i < 3; i++) await draw.nth(i).check();
  await page
    .getByRole("img", { name: /^Training loss against step of .+,.+,/ })
    .locator("svg g[aria-label=line] path")
    .nth(2)
    .waitFor();
  const figure = page.getByRole("img", { name: /^Accuracy on sentences/ });
  assert.match((await figure.getAttribute("aria-label")) ?? "", /10,000.*75\.0 %|75\.0 %.*10,000/s);
  await figure.locator("svg").first().waitFor();
  await shot(page, "compare");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("pause holds, resume continues, stop ends with a record", async () => {
  const { context, page, wrong } = await newUser(place);
  await choose(page, { steps: 3000, every: 20, seed: 2 });
  await trainButton(page).click();
  await step(page, 3);
  await page.getByRole("button", { name: "Pause" }).click();
  await status(page, /Paused\.$/);
  // The current step may still end; after that the status stays the same.
  const held = await eventually(async () => {
    const line = await page.getByTestId("status").textContent();
    await page.waitForTimeout(1500);
    assert.equal(await page.getByTestId("status").textContent(), line, "nothing changes while it is paused");
    return line;
  }, 30_000);
  await page.getByRole("button", { name: "Resume" }).click();
  const at = Number(/Step ([\d,]+)/.exec(held ?? "")?.[1]?.replace(",", ""));
  await step(page, at + 3);
  await page.getByRole("button", { name: "Stop" }).click();
  await status(page, /^Stopped after/);
  const [record] = await storedRecords(page);
  assert.equal(record?.at(-1)?.status, "stopped");
  await becomes(trainButton(page), ":enabled"); // another run can start
  assert.deepEqual(wrong, []);
  await context.close();
});

test("an invalid number gets a clear error before anything starts", async () => {
  const { context, page } = await newUser(place);
  await choose(page);
  await page.getByLabel("Number of parameters").fill("0");
  await page.getByText("Expected a whole number, at least 1, a share").waitFor();
  await becomes(trainButton(page), ":disabled");
  await page.getByLabel("Number of parameters").fill("999999999");
  const problem = page.getByTestId("problem");
  await problem.filter({ hasText: /999,?999,?999/ }).waitFor();
  await page.getByLabel("Number of parameters").fill("500");
  await problem.waitFor({ state: "detached" });
  await context.close();
});

test("the user's own file is a task, and is still there after a reload", async () => {
  const { context, page, wrong } = await newUser(place);
  await choose(page);
  const rows = Array.from({ length: 80 }, (_, i) =>
    i % 2 ? `"I like this, number ${i}",yes` : `This one is bad ${i},no`,
  );
  await page.getByTestId("own-data").setInputFiles(file("my reviews.csv", ["review,verdict", ...rows].join("\n")));
  await page.getByLabel("Text column").waitFor();
  await eventually(async () => assert.equal(await page.getByLabel("Text column").inputValue(), "review"));
  await eventually(async () => assert.equal(await page.getByLabel("Label column").inputValue(), "verdict"));
  await page.getByText(/dev/i).filter({ hasText: /split/i }).first().waitFor();
  await page.getByLabel("Steps", { exact: true }).fill("4");
  await trainButton(page).click();
  await status(page, /^Done after 4 steps/);
  await page.reload();
  await page
    .getByLabel("Task", { exact: true })
    .first()
    .locator("option", { hasText: "my-reviews (your data)" })
    .waitFor({ state: "attached" });
  await page.getByTestId("own-data").setInputFiles(file("empty.csv", ""));
  await page.getByText(/^empty\.csv: found no columns/).waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test("different data with an earlier name is not mixed with the earlier data", async () => {
  const { context, page } = await newUser(place);
  await choose(page);
  const rows = (/** @type {string} */ one, /** @type {string} */ other) =>
    Array.from({ length: 60 }, (_, i) => JSON.stringify({ text: `{${i}} of ${one} and ${other}`, label: i % 2 ? one : other })).join("\n");
  const drop = async (/** @type {string} */ one, /** @type {string} */ other) => {
    await page.getByTestId("own-data").setInputFiles(file("mine.jsonl", rows(one, other)));
    await page.getByLabel("Text column").waitFor();
    await page.getByLabel("Steps", { exact: true }).fill("4");
  };
  await drop("yes", "no");
  await trainButton(page).click();
  await status(page, /^Done after 4 steps/);
  await page.getByRole("heading", { name: "Try it" }).waitFor();
  await page.getByRole("button", { name: "Remove this data" }).click();
  await drop("apple", "pear");
  await page.getByRole("heading", { name: "Try it" }).waitFor({ state: "detached" });
  await trainButton(page).click();
  await page.getByTestId("problem").getByText(/^there is a run like this one of other rows that were called "mine", too; /).waitFor();
  const [record] = await storedRecords(page);
  assert.deepEqual(record?.[0]?.task.labels, ["no", "yes"]);
  assert.equal(record?.at(-1)?.status, "done");
  await context.close();
});

test("during a run the form belongs to the run", async () => {
  const { context, page, wrong } = await newUser(place);
  await choose(page, { steps: 4000, every: 1000 });
  await trainButton(page).click();
  await step(page, 5);
  const before = await address(page);
  await page.evaluate((to) => (location.hash = to), new URL(before.replace("4000", "3000")).hash);
  await page.waitForFunction((whole) => location.href === whole, before);
  await page.getByTestId("theta").setInputFiles(file("x.theta.safetensors", '"apet_theta"'));
  await page.getByTestId("problem").getByText(/^A run is in progress/).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByTestId("status").filter({ hasText: /^Stopped after/ }).waitFor();
  // Without an evaluation there is no best step: theta is that of the last step.
  const [record] = await storedRecords(page);
  const summary = record?.at(-1);
  assert.deepEqual([summary?.status, summary?.best_step], ["stopped", summary?.steps]);
  await page.getByText("Parameter positions").click();
  await page.getByRole("button", { name: /^Query, block 1: .*; moved by 0\.\d*[1-9]/ }).waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a second tab only views, and takes over when the first is closed", async () => {
  const { context, page } = await newUser(place);
  await choose(page);
  const second = await context.newPage();
  await second.goto(place.url);
  await second.getByText(/open in another tab/).waitFor();
  await toResults(second);
  await second.getByRole("button", { name: "Open saved runs…" }).waitFor();
  await toLab(second);
  await page.close();
  await trainButton(second).waitFor();
  await context.close();
});
