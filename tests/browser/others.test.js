// @ts-check
// Debian's Firefox and WebKitGTK: a run on the processor, its record, and Results with a study.
// Firefox also passes most of the other tests: BROWSER=firefox npm run test:browser (docs/browsers.md).

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { axe, becomes, choose, file, FIREFOX, misplaced, newUser, open, RUN_MS, shot, SLOW_MS, status, toResults, trainButton } from "./harness.js";
import { nativeRecord } from "./native-record.js";
import { hasWebkit, webkit } from "./webkit.js";

const STUDY = [300, 20, 100_000].map((count, i) => nativeRecord({ run: `00000000000000b${i}`, count, seed: i })).join("");

test("Firefox without WebGPU trains on the processor and shows the results", async (t) => {
  if (!existsSync(FIREFOX)) return t.skip(`${FIREFOX} is missing; on Debian: apt-get install firefox-esr`);
  const place = await open({ browser: "firefox", webgpu: false });
  try {
    const { page, wrong } = await newUser(place);
    await page.getByTestId("counts").getByText("classes").waitFor({ timeout: RUN_MS });
    await becomes(page.getByLabel("WebGPU"), ":disabled");
    await choose(page, { steps: 20, every: 10 });
    await trainButton(page).click();
    assert.match(await status(page, /^Done/), /^Done after 20 steps/);
    await shot(page, "firefox-lab");
    await toResults(page);
    const rows = page.locator("tbody tr:visible");
    await rows.filter({ hasText: "this tab" }).waitFor();
    await page.getByTestId("open-records").setInputFiles(file("study.jsonl", STUDY));
    await rows.nth(3).waitFor();
    await page.getByRole("searchbox").fill("tuned>=300 apet bert");
    await page.getByText("2 of 4 runs").waitFor();
    await page.locator(".plot svg").first().waitFor();
    await shot(page, "firefox-results");
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(await misplaced(page), []);
    assert.deepEqual(wrong, []);
  } finally {
    await place.close();
  }
});

test("Firefox with WebGPU enabled trains on it", async (t) => {
  if (!existsSync(FIREFOX)) return t.skip(`${FIREFOX} is missing; on Debian: apt-get install firefox-esr`);
  const place = await open({ browser: "firefox" });
  try {
    const { page, wrong } = await newUser(place);
    const adapter = page.getByTestId("adapter").filter({ hasNotText: "Looking" });
    if (/No WebGPU/.test((await adapter.textContent({ timeout: RUN_MS })) ?? "")) return t.skip("Firefox finds no adapter on this machine");
    await page.getByTestId("counts").getByText("classes").waitFor({ timeout: RUN_MS });
    await choose(page, { steps: 3, every: 3, device: "webgpu", batch: 2, tokens: 8 });
    await trainButton(page).click();
    assert.match(await status(page, /^Done/, SLOW_MS), /^Done after 3 steps/);
    assert.deepEqual(wrong, []);
  } finally {
    await place.close();
  }
});

test("WebKitGTK, without WebGPU and without private files, trains on the processor and shows the results", async (t) => {
  if (!hasWebkit) return t.skip("WebKitWebDriver or Xvfb is missing; on Debian: apt-get install webkit2gtk-driver xvfb");
  const place = await open();
  const home = await mkdtemp(path.join(tmpdir(), "apet-study-"));
  const page = await webkit();
  const says = (/** @type {string} */ of, /** @type {RegExp} */ what) => `return document.querySelector("${of}")?.textContent?.match(${what})?.[0]`;
  try {
    const spec = {
      model: "ladder-nano",
      task: { name: "sentences", max_length: 32 },
      method: { name: "apet", count: 2000 },
      optimizer: { learning_rate: 0.01 },
      train: { steps: 20, batch_size: 8, eval_every: 10 },
      seeds: { placement: 1, batches: 1, init: 1 },
    };
    await page.goto(`${place.url}#lab?spec=${encodeURIComponent(JSON.stringify(spec))}`);
    await page.evaluate(`
      window.wrong = [];
      for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"])
        addEventListener(kind, (e) => wrong.push(kind + ": " + (e.message ?? e.reason ?? e.blockedURI)));
    `);
    await page.wait(says("[data-testid=counts]", /2,000/), RUN_MS);
    await page.wait(says("form, main", /are lost when the page is closed/));
    await page.evaluate(`[...document.querySelectorAll("button")].find((b) => b.textContent === "Train").id = "train"`);
    await page.click("#train");
    await page.wait(says("[data-testid=status]", /^Done after 20 steps/), RUN_MS);
    await page.shot("webkit-lab");
    await page.click("nav a[href*=results]");
    await page.wait(says("tbody:last-of-type", /./));
    const study = path.join(home, "study.jsonl");
    await writeFile(study, STUDY);
    await page.type("[data-testid=open-records]", study);
    await page.wait(`return [...document.querySelectorAll("tbody tr")].filter((row) => row.offsetParent).length >= 4`);
    await page.type("input[type=search]", "tuned>=300 apet bert");
    await page.wait(says("main", /2 of 4 runs/));
    await page.wait(`return document.querySelector(".plot svg") !== null`);
    await page.shot("webkit-results");
    assert.deepEqual(await page.evaluate("return wrong"), []);
    assert.equal(await page.evaluate("return document.documentElement.scrollWidth - innerWidth"), 0);
  } finally {
    await page.close();
    await place.close();
    await rm(home, { recursive: true, force: true });
  }
});
