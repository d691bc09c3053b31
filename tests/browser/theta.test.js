// @ts-check
// The theta of a run: saved, converted to a peft adapter, and used to initialise another run.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { unzipSync } from "fflate";
import { choose, eventually, file, newUser, open, shot, status, storedRecords, toLab, toResults, trainButton } from "./harness.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

/** A safetensors file's tensors: name to shape. @param {Uint8Array} bytes */
function shapes(bytes) {
  const size = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  delete header.__metadata__;
  return new Map(Object.entries(header).map(([name, { shape }]) => [name, shape]));
}

/** The page of the newest run in Results. @param {import("playwright-core").Page} page */
async function runPage(page) {
  await toResults(page);
  await page.locator("tbody tr[aria-rowindex]:visible").first().getByRole("button").click();
  return page.getByRole("dialog");
}

/** Clicks a button and reads the downloaded file. @param {import("playwright-core").Page} page @param {import("playwright-core").Locator} button */
async function saved(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
  return { name: download.suggestedFilename(), bytes: new Uint8Array(await readFile(await download.path())) };
}

test("LoRA is saved as a peft adapter, theta as a file, and another run is initialised from it", async () => {
  const { context, page, wrong } = await newUser(place);
  await choose(page, { steps: 20, every: 10 });
  await page.getByLabel("Method", { exact: true }).selectOption("lora");
  await page.getByLabel("Rank").fill("2");
  await page.getByTestId("counts").getByText("1,024", { exact: true }).waitFor();
  await trainButton(page).click();
  // The phases of a step's time are shown.
  const split = page.getByTestId("step-time");
  await split.getByText(/\d %/).first().waitFor();
  assert.match((await split.textContent()) ?? "", /Forward\d+ %Backward\d+ %Update\d+ %/);
  await status(page, /^Done after 20 steps/);

  const dialog = await runPage(page);
  await shot(page, "theta", false);
  const adapter = await saved(page, dialog.getByRole("button", { name: "Download as peft adapter" }));
  assert.match(adapter.name, /^[0-9a-f]{16}-cpu\.peft\.zip$/);
  const files = unzipSync(adapter.bytes);
  assert.deepEqual(Object.keys(files).sort(), [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
  ]);
  const config = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
  assert.equal(config.peft_type, "LORA");
  assert.equal(config.r, 2);
  const weights = shapes(/** @type {Uint8Array} */ (files["adapter_model.safetensors"]));
  const scalars = [...weights.values()].reduce((sum, shape) => sum + shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1), 0);
  assert.equal(scalars, 1024, "all trained parameters and no others");

  const theta = await saved(page, dialog.getByRole("button", { name: "Download theta" }));
  await dialog.getByRole("button", { name: "Initialise from this run" }).click();
  const initialised = page.getByText(/^Initialised from [0-9a-f]{16}-cpu/);
  await initialised.waitFor();
  await eventually(async () => assert.equal(await page.getByLabel("Rank").inputValue(), "2", "the method is the theta's"));
  // A rate of 0 keeps the initial values: the score is that of the first run.
  await page.getByLabel("Learning rate").fill("0");
  await page.getByLabel("Steps", { exact: true }).fill("2");
  await trainButton(page).click();
  await status(page, /^Done after 2 steps/);
  const [first, second] = (await storedRecords(page)).sort((a, b) => b.length - a.length);
  const ended = (/** @type {typeof first} */ record) => record?.at(-1);
  assert.equal(second?.[0]?.spec.start.theta, theta.name.replace(".theta.safetensors", ""));
  assert.equal(ended(second)?.test, ended(first)?.test);
  assert.ok(ended(first)?.test > 0.55, "the first run learned something");

  // From a file, as a new user would get it from somebody else; a mismatch shows an error.
  const other = await newUser(place);
  await other.page.getByTestId("counts").getByText("classes").waitFor({ timeout: 120_000 });
  await other.page.getByTestId("theta").setInputFiles(file(theta.name, Buffer.from(theta.bytes)));
  await other.page.getByText(/^Initialised from/).waitFor();
  await other.page.getByLabel("Rank").fill("4");
  await trainButton(other.page).click();
  await other.page
    .getByTestId("problem")
    .getByText(/start.theta: [0-9a-f]{16}-cpu: found low_rank of 2 at .*, expected low_rank of 4/)
    .waitFor({ timeout: 60_000 });
  await other.page.getByRole("button", { name: "Remove saved weights" }).click();
  const start = other.page.getByRole("button", { name: "Start from saved weights…" });
  await start.waitFor();
  const says = (/** @type {RegExp} */ what) => other.page.getByTestId("problem").getByText(what).waitFor();
  await other.page.getByTestId("theta").setInputFiles(file("x.safetensors", "no theta"));
  await says(/^x.safetensors: expected a theta file, or adapter_config.json and adapter_model.safetensors of a peft adapter/);

  // The adapter, as the other page saved it or as peft's folder; steps at a rate of 0 leave it unchanged.
  await other.page.getByLabel("Method", { exact: true }).selectOption("apet");
  await choose(other.page, { steps: 2, every: 2 });
  const parts = ["adapter_config.json", "adapter_model.safetensors"].map((name) => file(name, Buffer.from(files[name] ?? [])));
  await other.page.getByTestId("theta").setInputFiles(parts.slice(0, 1));
  await says(/^adapter_config.json: a peft adapter needs both/);
  await other.page.getByTestId("theta").setInputFiles([file("adapter_config.json", JSON.stringify({ ...config, r: 4 })), ...parts.slice(1)]);
  await says(/^adapter: found low_rank of 2 at .*, expected low_rank of 4/);
  for (const from of [[file(adapter.name, Buffer.from(adapter.bytes))], parts]) {
    await other.page.getByTestId("theta").setInputFiles(from);
    await other.page.getByText(from === parts ? "Initialised from adapter" : /^Initialised from [0-9a-f]{16}-cpu/).waitFor();
    await eventually(async () => assert.equal(await other.page.getByLabel("Rank").inputValue(), "2", "the method is the adapter's"));
    if (from === parts) break;
    await other.page.getByRole("button", { name: "Remove saved weights" }).click();
    await start.waitFor();
  }
  await other.page.getByLabel("Learning rate").fill("0");
  await trainButton(other.page).click();
  await status(other.page, /^Done after 2 steps/);
  const again = await saved(other.page, (await runPage(other.page)).getByRole("button", { name: "Download as peft adapter" }));
  assert.deepEqual(unzipSync(again.bytes)["adapter_model.safetensors"], files["adapter_model.safetensors"]);
  await other.context.close();

  assert.deepEqual(wrong, []);
  await toLab(page);
  await context.close();
});

test("a method that peft does not support shows an error", async () => {
  const { context, page } = await newUser(place);
  await choose(page, { steps: 2, every: 2 });
  await page.getByLabel("Method", { exact: true }).selectOption("adapter");
  await page.getByLabel("Bottleneck size").fill("2");
  await trainButton(page).click();
  await status(page, /^Done after 2 steps/);
  const dialog = await runPage(page);
  await dialog.getByRole("button", { name: "Download as peft adapter" }).click();
  await dialog.getByRole("status").getByText(/peft/).waitFor();
  await context.close();
});

test("after a rejected adapter the form is still counted", async () => {
  const { context, page } = await newUser(place);
  const counts = page.getByTestId("counts");
  await page.getByLabel("Method", { exact: true }).selectOption("bitfit");
  // While the model is loaded for the counts.
  await page.getByTestId("theta").setInputFiles([file("adapter_config.json", "{}"), file("adapter_model.safetensors", "x")]);
  await page.getByTestId("problem").getByText(/adapter/).waitFor();
  await counts.getByText(/^[\d.]+ % of /).waitFor();
  await page.getByTestId("problem").getByText(/adapter/).waitFor();
  await context.close();
});
