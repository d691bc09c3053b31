// @ts-check
// Results: the figures, their exports, and a table of many runs.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { unzipSync, zipSync } from "fflate";
import { address, axe, becomes, eventually, file, misplaced, newUser, open, shot, toResults } from "./harness.js";
import { nativeRecord } from "./native-record.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

/** @typedef {import("playwright-core").Page} Page */

const rows = (/** @type {Page} */ page) => page.locator("tbody tr[aria-rowindex]:visible");
const column = (/** @type {Page} */ page, /** @type {number} */ n) =>
  page.locator(`tbody tr[aria-rowindex]:visible td:nth-child(${n})`).allTextContents();

let made = 0;
const id = () => (0xa000 + made++).toString(16).padStart(16, "0");

const MODELS = [
  { model: "small", parameters: 1_000_000, base: 0.6 },
  { model: "middle", parameters: 10_000_000, base: 0.7 },
  { model: "large", parameters: 100_000_000, base: 0.8 },
];

/** Three models; head, full, LoRA and APET at several counts; three seeds, and APET's placements crossed with them. */
function study() {
  /** @type {string[]} */
  const records = [];
  for (const { model, parameters, base } of MODELS) {
    for (const seed of [1, 2, 3]) {
      const noise = seed / 500;
      const one = (/** @type {Parameters<typeof nativeRecord>[0]} */ of) =>
        records.push(nativeRecord({ run: id(), model, parameters, seed, bytes: parameters * 4, ...of }));
      one({ method: "head", count: 0, test: base - 0.05 + noise + 2 / 300 });
      one({ method: "full", count: parameters, test: base + 0.1 + noise });
      one({ method: "lora", count: 1024, test: base + 0.02 + noise });
      for (const [i, count] of [10, 100, 1024, 10_000, 100_000].entries())
        for (const placement of [1, 2, 3])
          one({ count, placement, test: base - 0.05 + i * 0.03 + noise + placement / 300 });
    }
  }
  return records.join("");
}
const STUDY = study();
/** BitFit, four points below LoRA on every model: their standard deviation is 2.8 points, apart from the seeds' effect. */
const SECOND_METHOD = MODELS.flatMap(({ model, parameters, base }) =>
  [1, 2, 3].map((seed) =>
    nativeRecord({ run: id(), model, parameters, seed, method: "bitfit", count: 2000, test: base - 0.02 + seed / 500 }),
  ),
).join("");

async function results(/** @type {string} */ text = STUDY) {
  const user = await newUser(place);
  await toResults(user.page);
  await user.page.getByTestId("open-records").setInputFiles(file("study.jsonl", text));
  await rows(user.page).first().waitFor();
  return user;
}

const figure = (/** @type {Page} */ page) => page.locator("section.figure").nth(1);
const show = (/** @type {Page} */ page, /** @type {string} */ label) =>
  page.getByRole("combobox", { name: /^Figure/ }).selectOption({ label });

/** The figures, with a pattern of their text: numbers of apet-study. @type {[string, RegExp][]} */
const FIGURES = [
  ["Score against parameters", /large Full 100,000,000: 90.4 %/],
  ["Spread across methods", /large/],
  ["Distance from APET", /large: 0\.3 \[.+\] points/],
  ["Spread across placements", /small: 0\.3 \[.+\] points; middle: .+; large: /],
  ["Thresholds of APET", /low threshold of large on sentences, measured: 100(;|$)/],
  ["Convergence", /large, LoRA, 1,024 trained, \d+ steps, 3 runs/],
  ["Score against cost", /Pareto front: .*large, Full/],
  ["Parallel coordinates", /^162 runs through model, method, trained/],
];

test("an interval of two seeds does not extend the axis beyond possible scores", async () => {
  const two = [0.6, 0.95].map((score, i) => nativeRecord({ run: id(), seed: i + 1, method: "lora", count: 1024, test: score }));
  const { page, wrong } = await results(two.join(""));
  const ticks = figure(page).locator('[aria-label="y-axis tick label"] text');
  await ticks.first().waitFor();
  const shown = (await ticks.allTextContents()).map((tick) => Number(tick.replace(/\s*%$/, "")));
  assert.deepEqual([Math.min(...shown), Math.max(...shown)], [0, 100]);
  const [top, bottom] = await figure(page).locator('[aria-label="rule"] line').evaluateAll((lines) => {
    const bar = lines.find((line) => line.getAttribute("x1") === line.getAttribute("x2"));
    const ends = [Number(bar?.getAttribute("y1")), Number(bar?.getAttribute("y2"))];
    return [Math.min(...ends), Math.max(...ends)];
  });
  const axis = await figure(page).locator('[aria-label="y-axis tick label"] text').evaluateAll((texts) =>
    texts.map((text) => Number(/,([\d.]+)\)/.exec(text.getAttribute("transform") ?? "")?.[1])),
  );
  assert.deepEqual([top, bottom], [Math.min(...axis), Math.max(...axis)], "its bar ends where the scores end");
  assert.deepEqual(wrong, []);
  await page.context().close();
});

test("every figure is drawn, has its numbers as text, and fits light, dark and small screens", async () => {
  for (const [width, colorScheme] of /** @type {[number, "light" | "dark"][]} */ ([
    [1280, "light"],
    [820, "light"],
    [390, "dark"],
  ])) {
    const { context, page, wrong } = await newUser(place, { viewport: { width, height: 844 }, colorScheme });
    await toResults(page);
    await page.getByTestId("open-records").setInputFiles(file("study.jsonl", STUDY));
    await rows(page).first().waitFor();
    for (const [title, says] of FIGURES) {
      if (title === "Spread across methods") continue; // it needs two methods besides APET: see below
      await show(page, title);
      const drawn = figure(page).getByRole("img");
      await drawn.first().locator("svg").first().waitFor();
      assert.match(String(await drawn.first().getAttribute("aria-label")), says, title);
      await page.mouse.move(0, 0);
      await shot(page, `figure-${title.replaceAll(" ", "-")}-${width}-${colorScheme}`);
      assert.deepEqual(await axe(page), [], title);
      assert.deepEqual(await misplaced(page), [], title);
    }
    await show(page, "Spread across methods");
    await figure(page).getByText(/needs two methods/).waitFor();
    await page.getByTestId("open-records").setInputFiles(file("more.jsonl", SECOND_METHOD));
    const drawn = figure(page).getByRole("img", { name: /small: 2\.8 \[.+\] points; middle: .+; large: 2\.8 / });
    await drawn.locator("svg").first().waitFor();
    await figure(page).getByText(/claim 1 is undecided/).waitFor();
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(wrong, []);
    await context.close();
  }
});

test("figures show the runs of the table, and link to them", async () => {
  const { context, page, wrong } = await results();
  const filter = page.getByRole("searchbox");
  await filter.fill("model=large tuned<=1024 -head");
  await page.getByText("30 of 162 runs").waitFor();
  const drawn = figure(page).getByRole("img");
  await eventually(async () => {
    const text = String(await drawn.getAttribute("aria-label"));
    assert.doesNotMatch(text, /small/);
    assert.match(text, /large LoRA 1,024: 82.4 %/);
  });
  await filter.fill("lora");
  await page.getByText("9 of 162 runs").waitFor();
  await page.waitForFunction(() => document.querySelectorAll("section.figure svg [aria-label=dot] *").length === 3);
  // The largest model's point filters the table for its three runs.
  const dot = figure(page).locator("svg [aria-label=dot] > *").first();
  await dot.hover({ force: true });
  await dot.click({ force: true });
  await page.getByText("3 of 162 runs").waitFor();
  await eventually(async () => assert.match(await filter.inputValue(), /^lora model=\w+ task=sentences method=lora tuned=1024$/));
  // A longer number in the filter is a different word.
  await filter.fill("lora -tuned=10240");
  await page.getByText("9 of 162 runs").waitFor();
  await page.waitForFunction(() => document.querySelectorAll("section.figure svg [aria-label=dot] *").length === 3);
  await dot.hover({ force: true });
  await dot.click({ force: true });
  await page.getByText("3 of 162 runs").waitFor();
  await eventually(async () => assert.match(await filter.inputValue(), / method=lora tuned=1024$/));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("an invalid filter shows an error, and the table stays", async () => {
  const { context, page } = await results();
  const filter = page.getByRole("searchbox");
  await filter.fill("test>85% model=large");
  const found = await page.getByText(/^\d+ of 162 runs$/).textContent(); // waits for the line
  await filter.fill("size>3");
  await page.getByText('Unknown field "size"; expected one of run, method, tuned').waitFor();
  assert.equal(await page.getByText(/^\d+ of 162 runs$/).textContent(), found);
  await filter.fill("test>much");
  await page.getByText("test>much: expected a number, such as 0.8, 80% or 10k.").waitFor();
  await filter.fill("test>0,5");
  await page.getByText("test>0,5: expected a number, such as 0.8, 80% or 10k.").waitFor();
  await filter.fill("test > 50%");
  await page.getByText('">": expected a comparison without spaces, such as test>80%.').waitFor();
  await filter.fill("test=>50%");
  await page.getByText("test=>50%: expected one of = != > >= < <= ~.").waitFor();
  for (const [text, count] of /** @type {[string, number][]} */ ([
    ["tuned=10k", 27],
    ["method!=apet", 27],
    ['model~"ar"', 54],
    ["-apet -full -lora", 9],
    ["memory>=400M", 54],
    ['"apet 100 seed 2/1/1"', 3],
    ["-method=lora", 153],
    ["tuned==1,024 method=apet", 27],
    ["test=62.2% model=small", 2],
  ])) {
    await filter.fill(text);
    await page.getByText(`${count} of 162 runs`).waitFor();
  }
  await context.close();
});

test("runs are grouped by any fields, with means and intervals", async () => {
  const { context, page, wrong } = await results();
  await page.getByText("Group by").click();
  for (const field of ["Method", "Model"]) await page.getByRole("checkbox", { name: field, exact: true }).check();
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr[aria-rowindex]").length === 12);
  const lora = rows(page).filter({ hasText: "LoRA" }).filter({ hasText: "large" });
  await lora.filter({ hasText: /82\.4 % \[81\.9, 82\.9\]/ }).waitFor();
  await shot(page, "results-grouped");
  assert.deepEqual(await axe(page), []);
  await lora.getByRole("button").click();
  await page.getByText("3 of 162 runs").waitFor();
  await eventually(async () => assert.equal(await page.getByRole("searchbox").inputValue(), "method=lora model=large"));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("the address restores the view in another tab", async () => {
  const { context, page } = await results();
  await page.getByRole("searchbox").fill("model=large");
  await show(page, "Score against cost");
  await page.getByRole("combobox", { name: /^Cost/ }).selectOption("memory");
  await page.getByText("Columns", { exact: true }).click();
  await page.getByRole("checkbox", { name: "Rate", exact: true }).check();
  await page.getByRole("columnheader", { name: "Test" }).getByRole("button").click();
  await becomes(page.getByRole("columnheader", { name: "Test" }), "[aria-sort=descending]");
  const link = await address(page);
  assert.match(link, /#results\?/);
  const other = await context.newPage();
  await other.goto(link);
  await other.getByTestId("open-records").setInputFiles(file("study.jsonl", STUDY));
  await other.getByText("54 of 162 runs").waitFor();
  await other.getByRole("heading", { name: "Score against cost" }).waitFor();
  assert.equal(await other.getByRole("combobox", { name: /^Cost/ }).inputValue(), "memory");
  await becomes(other.getByRole("columnheader", { name: "Test" }), "[aria-sort=descending]");
  await other.getByRole("columnheader", { name: "Rate" }).waitFor();
  assert.equal(await address(other), link);
  await context.close();
});

test("a figure is saved as CSV, SVG and PNG", async () => {
  const { context, page } = await results();
  await figure(page).locator("svg").first().waitFor();
  const saved = async (/** @type {string} */ name) => {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      figure(page).getByRole("button", { name, exact: true }).click(),
    ]);
    return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
  };
  const csv = await saved("CSV");
  assert.equal(csv.name, "scores-sentences.csv");
  const lines = csv.bytes.toString().trim().split("\r\n");
  assert.equal(lines.length, 1 + 3 * 8, "a line per point");
  assert.match(lines[0] ?? "", /^model,parameters,task,metric,method,count,mean,deviation,low,high,n,setting$/);
  const svg = (await saved("SVG")).bytes.toString();
  assert.match(svg, /^<svg xmlns/);
  assert.ok(!svg.includes("var(--"), "it needs no style sheet");
  assert.ok(svg.includes("trained parameters") && svg.includes("middle"));
  const png = (await saved("PNG")).bytes;
  assert.equal(png.subarray(1, 4).toString(), "PNG");
  assert.ok(png.length > 10_000);
  await context.close();
});

test("specs are compared, runs named and kept at the top", async () => {
  const { context, page, wrong } = await results();
  await page.getByRole("searchbox").fill("large seed=2");
  const draw = page.getByRole("checkbox", { name: /^Plot/ });
  await page.getByText(/^\d+ of 162 runs$/).waitFor();
  await becomes(page.getByRole("button", { name: "Compare specs" }), ":disabled");
  for (const i of [0, 1]) await draw.nth(i).check();
  await page.getByRole("button", { name: "Compare specs" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("rowheader", { name: /^method\.(name|count)$/ }).first().waitFor();
  assert.equal(await dialog.getByRole("rowheader", { name: "optimizer.learning_rate" }).count(), 0, "it is the same");
  await shot(page, "differences", false);
  assert.deepEqual(await axe(page), []);
  await dialog.getByRole("button", { name: "Close" }).click();

  await page.getByRole("searchbox").fill("");
  const last = page.getByRole("columnheader", { name: "Test" }).getByRole("button");
  await last.click();
  await rows(page).nth(5).getByRole("button").click();
  await dialog.getByLabel("Name").fill("the good one");
  await dialog.getByLabel("Keep at the top").check();
  await dialog.getByText(/^apet run --spec [0-9a-f]{16}-cpu\.jsonl$/).waitFor();
  await dialog.getByRole("img", { name: /^Training loss, nats falls to/ }).locator("svg").waitFor();
  await shot(page, "run-page", false);
  assert.deepEqual(await axe(page), []);
  await dialog.getByRole("button", { name: "Close" }).click();
  await eventually(async () => assert.match(String((await column(page, 2))[0]), /the good one/));
  for (const word of ["good", 'run="the good one"']) {
    await page.getByRole("searchbox").fill(word);
    await page.getByText("1 of 162 runs").waitFor();
    await page.getByRole("searchbox").fill("");
    await page.getByText("162 runs", { exact: true }).waitFor();
  }
  await page.getByRole("searchbox").fill("");
  await page.reload();
  await page.getByTestId("open-records").setInputFiles(file("study.jsonl", STUDY));
  await rows(page).first().waitFor();
  await eventually(async () => assert.match(String((await column(page, 2))[0]), /the good one/));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("ten thousand runs: only a screenful of rows is rendered", async () => {
  const many = Array.from({ length: 10_000 }, (_, i) =>
    nativeRecord({ run: (0x100000 + i).toString(16).padStart(16, "0"), count: 1 + (i % 50) * 100, seed: i, steps: 2, test: (i % 900) / 1000 }),
  ).join("");
  const { context, page, wrong } = await results(many);
  await page.getByText("10,000 runs").waitFor();
  const drawn = () => rows(page).count();
  await eventually(async () => assert.ok((await drawn()) < 80, `${await drawn()} rows`));
  const scroller = page.getByRole("region", { name: "Table of runs" });
  await eventually(async () => assert.equal(await rows(page).first().getAttribute("aria-rowindex"), "2"));
  await scroller.evaluate((e) => e.scrollTo(0, e.scrollHeight));
  await page.locator('tr[aria-rowindex="10001"]').waitFor();
  await eventually(async () => assert.ok((await drawn()) < 80, `${await drawn()} rows at the end`));
  await page.getByRole("searchbox").fill("tuned=101 test>=50%");
  await page.getByText(/^\d+ of 10,000 runs$/).waitFor();
  await eventually(async () => assert.ok((await column(page, 4)).every((text) => text === "101")));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("all runs are saved as one archive, which another page opens", async () => {
  const { context, page, wrong } = await results();
  await page.getByRole("searchbox").fill("model=large lora");
  await page.getByText("3 of 162 runs").waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save all" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "apet-runs.zip");
  const bytes = await readFile(await download.path());
  const files = Object.keys(unzipSync(bytes));
  assert.deepEqual(files.filter((f) => f.startsWith("runs/")).length, 3);
  const report = Buffer.from(unzipSync(bytes)["report.md"] ?? []).toString();
  assert.match(report, /\| large \| 100,000,000 \| lora \| 1,024 \| 82\.4/);
  assert.doesNotMatch(report, /\| small \|/, "the report covers the saved runs");
  const other = await newUser(place);
  await toResults(other.page);
  const open = (/** @type {string} */ name, /** @type {Buffer} */ content) =>
    other.page.getByTestId("open-records").setInputFiles(file(name, content));
  await open("study.zip", bytes);
  await rows(other.page).nth(2).waitFor();
  await eventually(async () => assert.equal(await rows(other.page).filter({ hasText: "study.zip" }).count(), 3));
  await open("broken.zip", bytes.subarray(0, 200));
  await other.page.getByText(/^broken\.zip: cannot be unpacked/).waitFor();
  await open("other.zip", Buffer.from(zipSync({ "a.txt": new Uint8Array(3) })));
  await other.page.getByText("other.zip: contains no record").waitFor();
  assert.deepEqual([...wrong, ...other.wrong], []);
  await context.close();
  await other.context.close();
});

test("a run that was done in a tab and natively is two records in an archive", async () => {
  const { context, page } = await newUser(place);
  await toResults(page);
  const native = nativeRecord({ run: id() });
  const browser = native.replace('"host":"native"', '"host":"browser"');
  await page.getByTestId("open-records").setInputFiles([file("a.jsonl", native), file("b.jsonl", browser)]);
  await rows(page).nth(1).waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save all" }).click(),
  ]);
  const files = unzipSync(await readFile(await download.path()));
  const hosts = Object.keys(files).flatMap((name) =>
    name.endsWith(".jsonl") ? [JSON.parse(Buffer.from(files[name] ?? []).toString().split("\n", 1)[0] ?? "").device.host] : [],
  );
  assert.deepEqual(hosts.sort(), ["browser", "native"]);
  await context.close();
});

test("records are opened from an address, which the link keeps", async () => {
  const { context, page } = await newUser(place);
  await page.route("**/shared/study.jsonl", (route) => route.fulfill({ body: STUDY }));
  await toResults(page);
  await page.getByText("From an address").click();
  await page.getByLabel("Address of a .jsonl file").fill("shared/none.jsonl");
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/^shared\/none\.jsonl: the server answered 404/).waitFor();
  await page.getByLabel("Address of a .jsonl file").fill("shared/study.jsonl");
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText("162 runs", { exact: true }).waitFor();
  await page.reload();
  await page.getByText("162 runs", { exact: true }).waitFor();
  assert.match(await address(page), /open=shared/);

  // Another page may embed a figure of them: only the figure, and no Worker is started.
  await page.getByLabel("Figure").selectOption("trade");
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy embed link" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const embedded = await context.newPage();
  await embedded.route("**/shared/study.jsonl", (route) => route.fulfill({ body: STUDY }));
  /** @type {string[]} */
  const requested = [];
  embedded.on("request", (request) => requested.push(request.url()));
  await embedded.goto(link);
  await embedded.getByRole("heading", { name: "Score against cost" }).waitFor();
  await embedded.locator(".plot svg").last().waitFor();
  await shot(embedded, "figure-alone");
  assert.equal(await embedded.getByRole("navigation").count(), 0);
  assert.equal(await embedded.getByRole("table").count(), 0);
  assert.deepEqual(requested.filter((url) => /apet_web|worker/.test(url)), []);
  assert.deepEqual(await axe(embedded), []);
  const all = await embedded.getByRole("link", { name: "Open in APET Lab" }).getAttribute("href");
  assert.equal(all, link.replace("&alone=yes", ""));
  await context.close();
});
