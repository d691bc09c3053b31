// @ts-check
// The store that the page of commit 325694f left in a tab: its records open, its run resumes, its model and its data are there.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { newUser, open, RUN_MS, status, storedRecords, toLab, toResults } from "./harness.js";
import { decode, FOLDER, losses, readStore, storedTab, writeStore } from "./tab-store.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open({ webgpu: false })));
after(() => place?.close());

test("a tab's store of 325694f opens, and its interrupted run resumes", async () => {
  const { resumed } = JSON.parse((await readFile(`${FOLDER}/store.json`)).toString());
  const stored = await storedTab();
  const { context, page, wrong } = await newUser(place);
  // A file of the host that is no page: no Worker of the Lab has the store open.
  await page.goto(`${place.url}api/index.json`);
  await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    for await (const name of root.keys()) await root.removeEntry(name, { recursive: true });
  });
  await writeStore(page, stored);
  assert.deepEqual(await readStore(page), stored, "the snapshot is written");
  await page.goto(place.url);

  // The user's own model and data.
  const option = (/** @type {string} */ label, /** @type {string | RegExp} */ hasText) =>
    page.getByLabel(label, { exact: true }).first().locator("option", { hasText });
  await option("Pretrained model", "own-bert").first().waitFor({ state: "attached", timeout: RUN_MS });
  await option("Task", /^few /).first().waitFor({ state: "attached" });

  // Every record is a row.
  const records = Object.keys(stored.files).filter((name) => name.startsWith("runs/"));
  assert.equal(records.length, 3);
  await toResults(page);
  const rows = page.locator("tbody tr:visible").filter({ hasText: "this tab" });
  await rows.nth(2).waitFor();
  assert.equal(await rows.count(), 3);
  await rows.filter({ hasText: "own-bert" }).waitFor();

  // The run resumes from its newest checkpoint and has the losses of 325694f.
  await toLab(page);
  const left = page.getByRole("region", { name: "Interrupted" });
  await left.getByText(/ladder-nano · sentences · step \d+ of 60/).waitFor();
  await left.getByRole("button", { name: "Resume" }).click();
  await status(page, /^Done after 60 steps/);
  const found = await readStore(page);
  const record = decode(found.files[`runs/${resumed.run}.jsonl`] ?? "").toString();
  const lines = record.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const note = lines.find((line) => line.kind === "note" && line.step > 0 && line.step % 10 === 0);
  assert.ok(note, "it resumes from a checkpoint");
  const after = losses(record);
  assert.equal(after.length, resumed.losses.length);
  for (const [at, loss] of after.entries()) {
    const before = resumed.losses[at];
    assert.ok(Math.abs(loss - before) <= 1e-5 * Math.abs(before), `step ${at + 1}: ${loss}, stored ${before}`);
  }
  assert.equal((await storedRecords(page)).length, 3);

  // What is done is left as it was.
  for (const [name, bytes] of Object.entries(stored.files))
    if (/^(runs|thetas|tasks)\//.test(name) && !name.includes(resumed.run))
      assert.equal(found.files[name], bytes, `${name} is as it was`);
  const others = wrong.filter((line) => !line.endsWith("/favicon.ico")); // which the browser asks for next to the JSON
  assert.deepEqual(others, []);
  await context.close();
});
