// @ts-check
// The page that `apet report` writes: one file with an embedded study, opened from disk.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { axe, eventually, misplaced, shot } from "./harness.js";

const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));
const ABOUT = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">";

const STUDY = `
name = "small"
about = """${ABOUT}"""
models = ["bert-tiny"]
seeds = [1, 2]
train = { steps = 30, batch_size = 4, eval_every = 10 }

[[task]]
name = "sst2"
max_length = 16

[[method]]
name = "lora"
rank = 1
learning_rate = 1e-2

[[method]]
name = "apet"
counts = [10, 100]
learning_rate = 1e-2
`;

/** @type {string} */
let home;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  const binary = process.env.APET_BIN;
  if (!binary) throw new Error("Set APET_BIN to the binary `apet`.");
  home = await mkdtemp(path.join(tmpdir(), "apet-report-"));
  const options = { cwd: home, env: { ...process.env, APET_HOME: path.join(home, "store") } };
  const apet = (/** @type {string[]} */ ...words) => promisify(execFile)(binary, words, options);
  await apet("fetch", path.join(FIXTURES, "bert-tiny"));
  await mkdir(path.join(home, "data/sst2"), { recursive: true });
  await copyFile(path.join(FIXTURES, "tasks/sst2.jsonl"), path.join(home, "data/sst2/train.jsonl"));
  await writeFile(path.join(home, "small.toml"), STUDY);
  await apet("plan", "small.toml", "-o", "study", "--data", "data");
  for (const run of ["0", "1", "2", "3", "4"]) await apet("run", "--plan", "study", "--index", run);
  await apet("report", "study", "-o", "report.html");
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});

after(async () => {
  await browser?.close();
  await rm(home, { recursive: true, force: true });
});

for (const [width, colorScheme] of /** @type {const} */ ([
  [1280, "light"],
  [820, "light"],
  [390, "dark"],
]))
  test(`a report is one file, ${width} px, ${colorScheme}`, async () => {
    const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme });
    const page = await context.newPage();
    /** @type {string[]} */
    const wrong = [];
    page.on("pageerror", (error) => wrong.push(`uncaught: ${error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error") wrong.push(`console: ${message.text()}`);
    });
    const address = pathToFileURL(path.join(home, "report.html")).href;
    page.on("request", (request) => {
      if (request.url() !== address && !/^(blob|data):/.test(request.url())) wrong.push(`request: ${request.url()}`);
    });
    await page.goto(address);
    const rows = page.locator("tbody tr").filter({ has: page.getByRole("checkbox") });
    await rows.nth(4).waitFor();
    assert.equal(await rows.count(), 5);
    await eventually(async () => assert.equal(await page.getByRole("article").count(), 4, "the four claims"));
    await page.getByText("1 of 6 runs are not done: 5.").waitFor();
    assert.equal(await page.title(), "small – APET Lab");
    assert.ok(((await page.locator("header").first().textContent()) ?? "").includes(ABOUT), "the description is text");
    assert.equal(await page.locator("main img").count(), 0);

    await page.getByRole("checkbox", { name: /^Plot/ }).first().check();
    await page.getByRole("img", { name: /^Training loss against step/ }).locator("svg").last().waitFor();
    await page.getByRole("img", { name: /^Accuracy on sst2/ }).locator("svg").first().waitFor();
    await rows.first().getByRole("button").click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText('"name": "sst2"').waitFor();
    assert.equal(await dialog.getByRole("button", { name: "Use in the Lab" }).count(), 0, "there is no Lab");
    await dialog.getByRole("button", { name: "Close" }).click();
    await shot(page, `report-${width}-${colorScheme}`);
    assert.deepEqual(await misplaced(page), []);
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(wrong, []);
    await context.close();
  });
