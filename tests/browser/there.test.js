// @ts-check
// Runs that the page starts on the serving machine (`apet serve --allow-runs`).

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { axe, choose, eventually, misplaced, newUser, open, shot, status, step, toResults, trainButton } from "./harness.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open({ serve: ["--allow-runs"] })));
after(() => place?.close());

test("a run starts on the server's device, streams into the page, stops and resumes", async (t) => {
  if (!place.home) return t.skip("needs APET_BIN: the test's own server trains the runs");
  const { context, page, wrong } = await newUser(place);
  await choose(page, { steps: 4000, every: 500, count: 2000 });
  const machine = page.getByRole("group", { name: "On the machine that serves this page" });
  await machine.getByLabel("cpu", { exact: true }).check({ force: true });
  await page.getByText("trains natively on cpu of the machine that serves this page").waitFor();
  await shot(page, "there");
  assert.deepEqual(await axe(page), []);
  assert.deepEqual(await misplaced(page), []);
  await trainButton(page).click();
  await step(page, 20);
  assert.equal(await page.getByRole("button", { name: "Pause" }).count(), 0);
  // The run continues on the server during a reload, and the page finds it again.
  await page.reload();
  await step(page, 30);
  await page.getByRole("button", { name: "Stop" }).click();
  const ended = page.getByTestId("status").filter({ hasText: /^Stopped after [\d,]+ steps/ });
  await ended.waitFor({ timeout: 60_000 });
  const files = (await readdir(path.join(place.home, "runs"))).filter((f) => f.endsWith(".jsonl"));
  assert.equal(files.length, 1, "its record is in the server's store");
  const text = await readFile(path.join(place.home, "runs", files[0] ?? ""), "utf8");
  const header = JSON.parse(text.split("\n")[0] ?? "");
  assert.deepEqual([header.device.host, header.device.name, header.spec.train.steps], ["native", "cpu", 4000]);
  // The same run resumes, and another run waits for it.
  const before = Number(/after ([\d,]+) steps/.exec((await ended.textContent()) ?? "")?.[1]?.replace(",", ""));
  await trainButton(page).click();
  await step(page, before + 20);
  const other = await context.newPage();
  await other.goto(place.url);
  const queued = await other.evaluate(async () => {
    const spec = { model: "ladder-nano", task: { name: "sentences", max_length: 32 }, method: { name: "head" }, train: { steps: 10 } };
    const asked = await fetch("api/runs", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ spec, device: "cpu" }),
    });
    return asked.json();
  });
  assert.equal(queued.place, "waiting");
  await page.getByRole("button", { name: "Stop" }).click();
  await ended.waitFor({ timeout: 60_000 });
  await toResults(page);
  await page.getByRole("row").filter({ hasText: "server" }).filter({ hasText: "done" }).waitFor({ timeout: 60_000 });
  await eventually(async () => assert.equal(await page.getByRole("row").filter({ hasText: "stopped" }).count(), 1));
  await context.close();
  assert.deepEqual(wrong, []);
});

test("a run that the server rejects shows its error", async (t) => {
  if (!place.home) return t.skip("needs APET_BIN: the test's own server trains the runs");
  const { context, page } = await newUser(place);
  await choose(page, { steps: 5, count: 2000 });
  await page.getByRole("group", { name: "On the machine that serves this page" }).getByLabel("cpu", { exact: true }).check({ force: true });
  await page.getByLabel("Maximum length").fill("100000");
  await trainButton(page).click({ timeout: 60_000 });
  await page.getByTestId("problem").getByText(/task\.max_length: found 100000/).waitFor({ timeout: 60_000 });
  await status(page, /./);
  await context.close();
});
