// @ts-check
// The position map: drawn to scale, with matrices, with the distances of a run, and as an editor of the pool.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, choose, eventually, misplaced, newUser, open, shot, status, storedRecords, trainButton } from "./harness.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

test("the map shows positions and how far they moved, and parts can be chosen on it", async () => {
  const { context, page, wrong } = await newUser(place);
  await choose(page, { steps: 30, every: 15, count: 2000 });
  const memory = page.getByTestId("counts").getByText(/^\d+(\.\d)? MB$/);
  await memory.waitFor();
  await page.getByText("Parameter positions").click();
  const map = page.getByRole("region", { name: "Positions of the trained parameters" });
  const boxes = await eventually(async () => {
    const found = await map.getByRole("button").evaluateAll((all) =>
      all.map((e) => ({ says: e.getAttribute("aria-label") ?? "", side: parseFloat(getComputedStyle(e).getPropertyValue("--side")) })),
    );
    const trained = found.map(({ says }) => Number(/([\d,]+) of [\d,]+/.exec(says)?.[1]?.replaceAll(",", "")));
    assert.equal(trained.reduce((a, b) => a + b, 0), 2000, "every parameter is in a box");
    return found;
  });
  const of = (/** @type {RegExp} */ name) => boxes.find(({ says }) => name.test(says));
  // ladder-nano: the feed-forward matrices are four times as large as the queries'.
  const [ffn, query] = [of(/^FFN in, block 1/), of(/^Query, block 1/)];
  assert.ok(Math.abs((ffn?.side ?? 0) / (query?.side ?? 1) - 2) < 0.01, "areas are to scale");
  await map.getByRole("button", { name: /^Query, block 2/ }).click();
  const inside = page.getByRole("region", { name: "Query, block 2" });
  await inside.getByRole("img", { name: /query\.weight, 64 x 64: \d+ trained of 4,096/ }).waitFor();
  await shot(page, "map-matrix");
  assert.deepEqual(await axe(page), []);
  await inside.getByRole("button", { name: "Close" }).click();
  await eventually(async () => assert.match(await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? ""), /^Query, block 2/));

  await trainButton(page).click();
  await status(page, /^Done after 30 steps/);
  await map.getByRole("button", { name: /^Query, block 2: .*; moved by 0\.\d+/ }).waitFor();
  await shot(page, "map-moved");

  // Two boxes with the pointer, a third with the keyboard.
  await page.getByRole("button", { name: "Choose where" }).click();
  await page.getByRole("button", { name: "Clear" }).click();
  const box = (/** @type {string} */ name) => map.getByRole("button", { name: new RegExp(`^${name}`) });
  await box("Query, block 1").hover();
  await page.mouse.down();
  await box("Key, block 1").hover();
  await page.mouse.up();
  await box("Key, block 1").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Space");
  await eventually(async () => {
    const pressed = await map.locator('[aria-pressed="true"]').evaluateAll((all) => all.map((e) => e.getAttribute("aria-label")?.split(":")[0]));
    assert.deepEqual(pressed.toSorted(), ["Key, block 1", "Key, block 2", "Query, block 1"]);
  });
  await shot(page, "map-drawing");
  assert.deepEqual(await axe(page), []);
  assert.deepEqual(await misplaced(page), []);
  await page.getByRole("button", { name: "Choose among these 12,288" }).click();
  await page.getByText("Chosen among 12,288 parameters").waitFor();
  await trainButton(page).click();
  await status(page, /^Done after 30 steps/);
  const records = await storedRecords(page);
  const mine = records.find((lines) => lines[0]?.theta.candidate_parameters === 12_288);
  assert.match(mine?.[0]?.spec.method.pool.sites, /query/);
  await page.getByRole("button", { name: "Reset the choice" }).click();
  await page.getByText(/Chosen among 100,096 parameters/).waitFor();

  // The editor starts with the current pool. If another model lacks the chosen parts, the choice can still be reset.
  await page.getByLabel("Pretrained model").selectOption("ladder-micro");
  await page.getByLabel("Number of parameters").fill("3");
  await page.getByTestId("counts").getByText("3", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Choose where" }).click();
  const pool = Number(/among ([\d,]+)/.exec((await page.getByText(/Chosen among \d/).textContent()) ?? "")?.[1]?.replaceAll(",", ""));
  await page.getByRole("button", { name: `Choose among these ${pool.toLocaleString("en")}` }).waitFor();
  await page.getByRole("button", { name: "Clear" }).click();
  await box("Query, block 3").click();
  await page.getByRole("button", { name: /^Choose among these/ }).click();
  await page.getByLabel("Pretrained model").selectOption("ladder-nano");
  await page.getByTestId("problem").getByText(/selects no tensor/).waitFor();
  await page.getByRole("button", { name: "Reset the choice" }).click();
  await page.getByText(/Chosen among 100,096 parameters/).waitFor();
  await page.getByRole("button", { name: "Choose where" }).click();
  await page.getByLabel("Method", { exact: true }).selectOption("lora");
  await page.getByRole("button", { name: /^Query, block 1: \d+;/ }).click();
  await page.getByRole("region", { name: "Query, block 1" }).waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});
