// @ts-check
// How the page looks: accessible, within the screen, light and dark.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, choose, file, misplaced, newUser, open, shot, status, toLab, toResults, trainButton } from "./harness.js";
import { nativeRecord } from "./native-record.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

const study = ["apet", "lora", "head"]
  .flatMap((method, m) =>
    [1, 2, 3].map((seed) =>
      nativeRecord({
        run: `0000000000000d${m}${seed}`,
        method,
        count: [10_000, 1024, 0][m] ?? 0,
        seed,
        test: 0.7 + m / 50 + seed / 100,
      }),
    ),
  )
  .join("");

for (const [width, height] of [
  [1280, 800],
  [820, 1180],
  [390, 844],
]) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`${width} x ${height}, ${colorScheme}`, async () => {
      const { context, page, wrong } = await newUser(place, {
        viewport: { width: width ?? 0, height: height ?? 0 },
        colorScheme,
      });
      const name = (/** @type {string} */ view) => `${view}-${width}x${height}-${colorScheme}`;
      const check = async (/** @type {string} */ view) => {
        await shot(page, name(view), view !== "run" && view !== "models");
        assert.deepEqual(await axe(page), [], view);
        assert.deepEqual(await misplaced(page), [], view);
      };
      await page.getByTestId("counts").getByText("classes").waitFor({ timeout: 120_000 });
      const shift = await shifted(page);
      assert.ok(shift < 0.1, `the layout shifts while the page loads: ${shift}`);
      await check("lab");
      await page.getByText("Parameter positions").click();
      await page.getByText("More", { exact: true }).click();
      for (const method of ["LoRA", "Prompt", "Adapter", "IA3", "LayerNorm tuning", "BitFit", "Head only", "Full"]) {
        await page.getByLabel("Method", { exact: true }).selectOption({ label: method });
        assert.deepEqual(await misplaced(page), [], method);
      }
      await page.getByTestId("counts").getByText("1,000", { exact: true }).waitFor({ state: "detached" });
      await check("lab-more");
      await page.getByRole("button", { name: "More models…" }).click();
      await page.getByRole("region", { name: "Kept in this browser" }).getByRole("listitem").first().waitFor();
      await check("models");
      await page.keyboard.press("Escape");

      await toResults(page);
      await check("results-empty");
      await page
        .getByTestId("open-records")
        .setInputFiles([file("study.jsonl", study), file("broken.jsonl", "not a record\n")]);
      const draw = page.getByRole("checkbox", { name: /^Plot/ });
      await draw.first().waitFor();
      for (const i of [0, 3, 6]) await draw.nth(i).check();
      await page.locator(".plot svg").nth(1).waitFor();
      await page.mouse.move(0, 0);
      await check("results");
      await page.locator("tbody button:visible").first().click();
      await page.getByRole("dialog").waitFor();
      await check("run");
      await page.keyboard.press("Escape");
      await toLab(page);
      assert.deepEqual(wrong, []);
      await context.close();
    });
  }
}

/** The cumulative layout shift without user input. @param {import("playwright-core").Page} page */
const shifted = (page) =>
  page.evaluate(
    () =>
      /** @type {Promise<number>} */ (
        new Promise((done) => {
          let sum = 0;
          new PerformanceObserver((seen) => {
            for (const entry of /** @type {any[]} */ (seen.getEntries())) if (!entry.hadRecentInput) sum += entry.value;
          }).observe({ type: "layout-shift", buffered: true });
          setTimeout(() => done(sum), 200);
        })
      ),
  );

test("the layout does not shift during a run", async () => {
  for (const width of [1280, 820, 390]) {
    const { context, page } = await newUser(place, { viewport: { width, height: 844 } });
    await choose(page, { steps: 120, every: 40 });
    const before = await shifted(page);
    await trainButton(page).click();
    await status(page, /^Done after 120 steps/);
    // A number that becomes wider counts, too: a hundredth of a percent each.
    const shift = (await shifted(page)) - before;
    assert.ok(shift < 0.005, `${width} pixels wide: ${shift}`);
    await context.close();
  }
});

test("the keyboard reaches everything", async () => {
  const { context, page } = await newUser(place);
  await page.getByTestId("counts").getByText("classes").waitFor({ timeout: 120_000 });
  const reached = new Set();
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      const label = e instanceof HTMLInputElement || e instanceof HTMLSelectElement ? e.labels?.[0] : e;
      return e && e !== document.body ? `${e.tagName} ${label?.textContent}` : "";
    });
    if (at) reached.add(at);
    if (/^BUTTON Train/.test(at)) break;
  }
  const all = [...reached].join("\n");
  for (const part of ["Results", "Pretrained model", "Number of parameters", "Steps", "Seed", "More", "Train"])
    assert.ok(all.includes(part), `${part} in\n${all}`);
  await context.close();
});
