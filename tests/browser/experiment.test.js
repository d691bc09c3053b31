// @ts-check
// The scaling experiment: one click, many runs, verdicts; it resumes after a stop and a reload.
//
// The store has its models (the ladder) and its task (sentences).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { address, axe, becomes, eventually, file, misplaced, newUser, open, RUN_MS, shot, storedRecords, toLab, toResults, trainButton } from "./harness.js";
import { nativeRecord } from "./native-record.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

/** @typedef {import("playwright-core").Page} Page */

/** Parts of the experiment that are cut off. @param {Page} page */
const cutOff = (page) => misplaced(page, ".experiment :is(button, h2, h3, h4, p, th, td, article)");

const section = (/** @type {Page} */ page) => page.getByRole("region", { name: "Scaling experiment" });
const button = (/** @type {Page} */ page, /** @type {string} */ name) =>
  section(page).getByRole("button", { name, exact: true });
const processor = (/** @type {Page} */ page) => page.getByLabel("Processor (cpu)").check({ force: true });

/** Waits until at least `least` runs are done. @param {Page} page @param {number} least */
const done = (page, least) =>
  page.waitForFunction(
    (least) => Number(/^\d+/.exec(document.querySelector("[data-testid=experiment]")?.textContent ?? "")?.[0]) >= least,
    least,
    { timeout: RUN_MS, polling: 50 },
  );

/** Finished runs of this tab: their ids and their records' lines. @param {Page} page */
async function finished(page) {
  const all = await storedRecords(page);
  const ended = all.filter((record) => record.at(-1)?.kind === "summary" && record.at(-1)?.status === "done");
  return new Map(ended.map((record) => [String(record[0]?.run), JSON.stringify(record)]));
}

/** Stops the experiment and waits for its end. @param {Page} page */
async function stop(page) {
  await button(page, "Stop").click();
  await becomes(button(page, "Resume"), ":enabled", RUN_MS);
}

test("one click starts one run after another; they survive a stop and a reload", async () => {
  const { context, page, wrong } = await newUser(place);
  await processor(page);
  await section(page).getByText(/\d+ runs on (ladder-\w+, )*ladder-\w+ and ladder-\w+/).waitFor();
  assert.equal(await section(page).getByRole("article").count(), 0, "no verdicts without runs");
  await shot(page, "experiment-before");

  await button(page, "Run the experiment").click();
  await section(page)
    .getByText(/^0 of \d+ runs.*Now .+ · ladder-nano · seed 1$/)
    .waitFor();
  await becomes(page.getByLabel("Pretrained model"), ":disabled");
  await trainButton(page).waitFor({ state: "detached" });
  await done(page, 2);
  await section(page).getByText(/\d+ of \d+ runs, (at least|about) \d+ min left/).waitFor();
  await shot(page, "experiment-during");
  await stop(page);

  const before = await finished(page);
  assert.ok(before.size >= 2, `two runs are done: ${[...before.keys()]}`);
  const stopped = (await storedRecords(page)).filter((record) => !before.has(String(record[0]?.run)));
  assert.ok(stopped.length <= 1, "at most the current run has been started");
  await section(page)
    .getByText(new RegExp(`^${before.size} of \\d+ runs$`))
    .waitFor();
  await becomes(trainButton(page), ":enabled"); // the counts of the form come first

  const answers = section(page).getByRole("article");
  await eventually(async () => assert.equal(await answers.count(), 4));
  await section(page)
    .getByRole("heading", { name: new RegExp(`^Results so far: ${before.size} of \\d+ runs done$`) })
    .waitFor();
  for (const text of await answers.allTextContents()) assert.match(text, /supported|undecided/);
  await section(page)
    .getByRole("img", { name: /^Accuracy on sentences .*ladder-nano/ })
    .locator("svg")
    .first()
    .waitFor();

  await page.reload();
  await processor(page);
  await section(page)
    .getByText(new RegExp(`^${before.size} of \\d+ runs$`))
    .waitFor();
  await button(page, "Resume").click();
  await done(page, before.size + 1);
  await stop(page);
  const now = await finished(page);
  assert.ok(now.size > before.size, "another run is done");
  for (const [run, record] of before) assert.equal(now.get(run), record, `${run} is not rerun`);
  for (const record of stopped)
    assert.equal((await storedRecords(page)).filter((r) => r[0]?.run === record[0]?.run).length, 1);

  await toResults(page);
  const listed = page.locator("tbody tr:visible .state.done");
  await listed.nth(now.size - 1).waitFor();
  await eventually(async () => assert.equal(await listed.count(), now.size));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("an experiment on one question has its own description and runs, and reuses those of others", async () => {
  const { context, page, wrong } = await newUser(place);
  await processor(page);
  const choice = (/** @type {string} */ name) => section(page).getByLabel(name, { exact: true });
  for (const [name, runs, words] of /** @type {const} */ ([
    ["Methods", 45, /their differences become marginal/],
    ["Positions", 36, /positions matter less as the model grows/],
    ["Counts", 54, /low and the high threshold/],
    ["Everything", 117, /both shrink with scale/],
  ])) {
    await choice(name).check({ force: true });
    await section(page).getByText(new RegExp(`${runs} runs on ladder-nano, ladder-micro and ladder-small`)).waitFor();
    await section(page).getByText(words).waitFor();
    assert.deepEqual(await cutOff(page), [], name);
  }
  await choice("Counts").check({ force: true });
  assert.match(await address(page), /experiment=counts/);
  await page.reload();
  await becomes(choice("Counts"), ":checked"); // the link keeps it
  await processor(page);
  await button(page, "Run the experiment").click();
  await done(page, 1);
  await becomes(choice("Methods"), ":disabled"); // one at a time
  await stop(page);
  // All but one of the experiments contain full tuning: that run is done, and is not rerun.
  const [first] = (await finished(page)).keys();
  for (const [name, isDone] of /** @type {const} */ ([["Methods", true], ["Everything", true], ["Positions", false]])) {
    await choice(name).check({ force: true });
    await button(page, isDone ? "Resume" : "Run the experiment").waitFor();
    if (isDone) await section(page).getByText(/^[1-9]\d* of \d+ runs$/).waitFor();
  }
  assert.ok(first);
  assert.deepEqual(wrong, []);
  await context.close();
});

/**
 * The records of a finished experiment: with larger models, methods become more similar and APET needs
 * fewer parameters. The ids come from the page's wasm.
 * @param {Page} page
 */
async function finishedStudy(page) {
  /** @type {{ run: string, spec: string }[]} */
  const runs = await page.evaluate(async () => {
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    const address = loaded.find((name) => /apet_view[^/]*\.js$/.test(name));
    return (await import(String(address))).presets()[0].runs;
  });
  const names = [...new Set(runs.map((r) => JSON.parse(r.spec).model))];
  const records = runs.map(({ run, spec: text }) => {
    const spec = JSON.parse(text);
    const { name, count: asked } = spec.method;
    const size = names.indexOf(spec.model);
    const counts = { full: 10 ** (5 + size), head: 0, lora: 4096, adapter: 9000, bitfit: 1800, prompt: 2560 };
    const as = /^as (\w+)$/.exec(String(asked))?.[1];
    const count = name === "apet" && !as ? asked : counts[/** @type {keyof typeof counts} */ (as ?? name)];
    const apart = { lora: 0.06, adapter: 0.02, bitfit: -0.02, prompt: -0.06 }[String(name)] ?? 0;
    const grown = name === "apet" ? Math.min(1, (Math.log10(count) + size) / 4) : name === "head" ? 0 : 1;
    const test = 0.6 + 0.05 * size + 0.2 * grown + apart / (1 + 3 * size) + 0.004 * spec.seeds.init;
    const [header, ...lines] = nativeRecord({ run, count, seed: spec.seeds.init, test, model: spec.model })
      .split("\n")
      .filter(Boolean);
    const head = JSON.parse(header ?? "");
    head.spec = spec;
    head.model.parameters = 10 ** (5 + size);
    head.theta.method = name;
    return [JSON.stringify(head), ...lines].map((line) => `${line}\n`).join("");
  });
  return file("study.jsonl", records.join(""));
}

for (const [width, height] of [
  [1280, 800],
  [820, 1180],
  [390, 844],
]) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`a finished experiment has verdicts, ${width} x ${height}, ${colorScheme}`, async () => {
      const { context, page, wrong } = await newUser(place, {
        viewport: { width: width ?? 0, height: height ?? 0 },
        colorScheme,
      });
      await section(page).waitFor();
      await page.getByTestId("counts").getByText("classes").waitFor({ timeout: 120_000 });
      assert.deepEqual(await cutOff(page), [], "before");
      const study = await finishedStudy(page);
      await toResults(page);
      await page.getByTestId("open-records").setInputFiles(study);
      await page.getByRole("cell", { name: "study.jsonl" }).first().waitFor();
      await toLab(page);
      const said = (await section(page).locator("p.hint").first().textContent()) ?? "";
      const models = new Set(said.match(/ladder-\w+/g)).size;
      assert.ok(models > 1, said);
      const answers = section(page).getByRole("article");
      await answers.nth(3).waitFor();
      assert.equal(await answers.count(), 4);
      await eventually(async () => assert.equal(await section(page).getByRole("button").count(), 0, "no run is left"));
      for (const i of [0, 1, 2]) {
        const rows = answers.nth(i).getByRole("row");
        assert.equal(await rows.count(), models, "a row for each model");
        for (const row of await rows.allTextContents())
          assert.match(row, /^ladder-\w+(not reached|–|[\d,.]+ \[[\d,.]+, ([\d,.]+|more)\] (points|parameters))/);
      }
      await section(page).locator(".plot svg").nth(models).waitFor({ state: "attached" });
      await shot(page, `experiment-${width}x${height}-${colorScheme}`);
      assert.deepEqual(await axe(page), []);
      assert.deepEqual(await cutOff(page), []);
      await section(page).locator("summary").focus();
      await page.keyboard.press("Enter");
      await answers.first().waitFor({ state: "hidden" });
      assert.deepEqual(wrong, []);
      await context.close();
    });
  }
}
