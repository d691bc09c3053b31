// @ts-check
// Try it: the predictions of the tab's runs for a text; and a link that restores the whole form.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { address, axe, choose, misplaced, newUser, open, shot, status, trainButton } from "./harness.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

test("runs of the tab predict a text side by side", async () => {
  const { context, page, wrong } = await newUser(place);
  await choose(page, { steps: 40, every: 20, count: 2000 });
  assert.equal(await page.getByRole("heading", { name: "Try it" }).count(), 0, "nothing is trained yet");
  await trainButton(page).click();
  await status(page, /^Done after 40 steps/);
  await page.getByText("Train Head only and Full on the same task").waitFor();
  await page.getByRole("form", { name: "Run" }).getByLabel("Method").selectOption({ label: "Head only" });
  await page.getByTestId("counts").getByText("0", { exact: true }).waitFor();
  await trainButton(page).click();
  await status(page, /^Done after 40 steps/);
  const ask = async (/** @type {string} */ text) => {
    await page.getByLabel("Your text").fill(text);
    await page.getByRole("button", { name: "Ask 2 models" }).click();
    const answers = page.getByRole("region", { name: "Answers" });
    await answers.getByRole("row").nth(2).getByText(/%$/).nth(1).waitFor();
    const rows = await answers.getByRole("row").allTextContents();
    const shares = rows.slice(1).map((row) => [...row.matchAll(/(\d+\.\d) %/g)].map((m) => Number(m[1])));
    for (const [no = NaN, yes = NaN] of shares) assert.ok(Math.abs(no + yes - 100) < 0.11, `${no} + ${yes}`);
    assert.match(rows[1] ?? "", /^Head only/);
    assert.match(rows[2] ?? "", /^APET 2,000/);
    return shares;
  };
  const good = await ask("I love this place, the food is great and the service is good.");
  const bad = await ask("The food was terrible and the service was bad. I hated it.");
  assert.ok((good[1]?.[1] ?? 0) > (bad[1]?.[1] ?? 100), `${good} ${bad}`);
  // Full tuning is the reference line, and comes last.
  const line = page.getByText("full tuning, best on dev");
  assert.equal(await line.count(), 0);
  const form = page.getByRole("form", { name: "Run" });
  await form.getByLabel("Method").selectOption({ label: "Full" });
  await form.getByLabel("Learning rate").fill("0.001");
  await page.getByTestId("counts").getByText("632,704", { exact: true }).waitFor();
  await trainButton(page).click();
  await status(page, /^Done after 40 steps/);
  await line.waitFor();
  await page.getByRole("button", { name: "Ask 3 models" }).click();
  const answers = page.getByRole("region", { name: "Answers" });
  await answers.getByRole("row", { name: /^Full/ }).getByText(/%$/).first().waitFor();
  await shot(page, "try");
  assert.deepEqual(await axe(page), []);
  assert.deepEqual(await misplaced(page), []);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a link restores the form, and a broken link does no harm", async () => {
  const { context, page, wrong } = await newUser(place);
  await page.getByTestId("counts").getByText("classes").waitFor({ timeout: 120_000 });
  assert.ok(!(await address(page)).includes("spec="), "the initial form is not in the address");
  await choose(page, { model: "ladder-small", steps: 77, count: 3333, seed: 5 });
  const link = await address(page);
  assert.match(link, /#lab\?spec=/);
  await page.close();
  const other = await context.newPage();
  await other.goto(link);
  await other.getByTestId("counts").getByText("3,333", { exact: true }).waitFor({ timeout: 120_000 });
  assert.equal(await other.getByLabel("Pretrained model").inputValue(), "ladder-small");
  assert.equal(await other.getByLabel("Steps", { exact: true }).inputValue(), "77");
  assert.equal(await other.getByLabel("Seed", { exact: true }).inputValue(), "5");
  await other.evaluate(() => (location.hash = "#lab?experiment=methods"));
  await other.waitForFunction(() => /experiment=methods/.test(location.hash) && /spec=.*3333/.test(location.hash));
  await other.close();
  const written = { model: "ladder-nano", task: { name: "sentences" }, method: { name: "apet", count: 77 }, optimizer: { learning_rate: 0.01 } };
  const short = { ...written, train: { steps: 20, batch_size: 8, eval_every: 10 }, seeds: { placement: 1, batches: 1, init: 1 } };
  const brief = await context.newPage();
  await brief.goto(`${place.url}#lab?spec=${encodeURIComponent(JSON.stringify(short))}`);
  await brief.getByTestId("counts").getByText("77", { exact: true }).waitFor({ timeout: 120_000 });
  assert.ok(await brief.getByLabel("Attention").isChecked(), "absent options have the form's initial values");
  await brief.close();
  for (const pool of [{ layers: { first: 0, last: 0 } }, null]) {
    const one = await context.newPage();
    const method = { name: "apet", count: 77, pool };
    await one.goto(`${place.url}#lab?spec=${encodeURIComponent(JSON.stringify({ ...short, method }))}`);
    await one.getByTestId("counts").getByText("77", { exact: true }).waitFor({ timeout: 120_000 });
    await one.close();
  }
  for (const spec of ["{", "[]", '{"model":"x"}', '{"model":1,"task":{"name":"sst2"},"method":{"name":"none"}}']) {
    const one = await context.newPage();
    await one.goto(`${place.url}#lab?spec=${encodeURIComponent(spec)}`);
    await one.getByTestId("counts").getByText("classes").waitFor({ timeout: 120_000 });
    await one.close();
  }
  assert.deepEqual(wrong, []);
  await context.close();
});
