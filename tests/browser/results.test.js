// @ts-check
// Results: records from files and from the server, the table, and malicious records.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { strToU8, zipSync } from "fflate";
import {
  eventually,
  file,
  newUser,
  open,
  removeServerRecord,
  storedRecords,
  toLab,
  toResults,
  writeServerRecord,
} from "./harness.js";
import { nativeRecord } from "./native-record.js";

/** @type {import("./harness.js").Place} */
let place;
before(async () => (place = await open()));
after(() => place?.close());

const rows = (/** @type {import("playwright-core").Page} */ page) => page.locator("tbody tr:visible"); // the Lab also has a table
const trained = (/** @type {import("playwright-core").Page} */ page) =>
  page.locator("tbody tr:visible td:nth-child(4)").allTextContents();

/** Waits until the rows have these counts of trained parameters. @param {import("playwright-core").Page} page @param {string[]} counts */
const shows = (page, counts) => eventually(async () => assert.deepEqual(await trained(page), counts));

async function results() {
  const user = await newUser(place);
  await toResults(user.page);
  const openFile = (/** @type {string} */ name, /** @type {string} */ text) =>
    user.page.getByTestId("open-records").setInputFiles(file(name, text));
  return { ...user, openFile };
}

test("the table sorts and filters", async () => {
  const { context, page, openFile, wrong } = await results();
  const counts = [300, 20, 100_000];
  await openFile(
    "study.jsonl",
    counts.map((count, i) => nativeRecord({ run: `00000000000000b${i}`, count, seed: i })).join("") +
      nativeRecord({ run: "00000000000000b9", method: "lora", count: 1024 }),
  );
  await rows(page).nth(3).waitFor();
  const head = page.getByRole("columnheader", { name: "Trained" });
  await head.getByRole("button").click();
  await eventually(async () => assert.equal(await head.getAttribute("aria-sort"), "descending"));
  await shows(page, ["100,000", "1,024", "300", "20"]);
  await head.getByRole("button").click();
  await shows(page, ["20", "300", "1,024", "100,000"]);
  await page.getByRole("searchbox").fill("lora bert");
  await shows(page, ["1,024"]);
  await page.getByText("1 of 4 runs").waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test("results of peft's method comparison are shown with records", async () => {
  const { context, page, wrong } = await results();
  const folder = new URL("../fixtures/method_comparison/", import.meta.url);
  const names = ["lora--llama-3.2-3B-rank32", "prompt_tuning--llama-3.2-3B-default"];
  const texts = await Promise.all(names.map((name) => readFile(new URL(`${name}.json`, folder), "utf8")));
  const files = texts.map((text, i) => file(`${names[i]}.json`, text));
  await page
    .getByTestId("open-records")
    .setInputFiles([...files, file("one.jsonl", nativeRecord({ run: "00000000000000b0", count: 300 }))]);
  await rows(page).nth(2).waitFor();
  await eventually(async () => assert.deepEqual((await trained(page)).toSorted(), ["300", "614,400", "9,175,040"]));
  await rows(page).filter({ hasText: "9,175,040" }).getByRole("button").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(/test score is that of the last step/).waitFor();
  assert.match(String(await dialog.textContent()), /test 47.8/);
  assert.equal(await dialog.getByRole("button", { name: "Use in the Lab" }).count(), 0, "it cannot be run here");
  await dialog.getByRole("button", { name: "Close" }).click();
  const images = await readFile(new URL("image-gen.json", folder), "utf8");
  await page.getByTestId("open-records").setInputFiles(file("image-gen.json", images));
  await page.getByText(/image-gen.json: result of peft's method comparison: train_info.metrics\[0\]/).waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a study's table and its archive open in the page", async (t) => {
  const binary = process.env.APET_BIN;
  if (!binary || !place.home) return t.skip("needs APET_BIN: the study is made by it");
  const folder = await mkdtemp(path.join(tmpdir(), "apet-study-"));
  await writeFile(path.join(folder, "small.toml"), SMALL);
  const apet = (/** @type {string[]} */ ...words) =>
    promisify(execFile)(binary, words, { cwd: folder, env: { ...process.env, APET_HOME: path.join(folder, "store") } });
  await apet("demo", "small.toml", "--dry-run");
  await apet("plan", "small.toml", "-o", "study");
  await apet("run", "--plan", "study");
  for (const out of ["runs.parquet", "study.zip"]) await apet("collect", "study", "-o", out);

  const { context, page, wrong } = await results();
  const chooser = page.getByTestId("open-records");
  await chooser.setInputFiles(path.join(folder, "runs.parquet"));
  await rows(page).nth(3).waitFor();
  assert.equal(await rows(page).count(), 4);
  const scores = () => page.locator("tbody tr:visible td:nth-child(6)").allTextContents();
  const table = await eventually(async () => {
    const found = (await scores()).toSorted();
    assert.ok(found.every((score) => /^\d+\.\d %$/.test(score)), String(found));
    return found;
  });
  // The archive has the same runs, with their steps and thetas.
  await chooser.setInputFiles(path.join(folder, "study.zip"));
  await rows(page).first().getByRole("button").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Download theta" }).waitFor();
  await dialog.getByRole("heading", { name: "Training loss, nats" }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await rows(page).count(), 4);
  await eventually(async () => assert.deepEqual((await scores()).toSorted(), table));
  await chooser.setInputFiles(file("other.parquet", "PAR1 and nothing more"));
  await page.getByText(/^other\.parquet: cannot be read as Parquet/).waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
  await rm(folder, { recursive: true });
});

/** Four runs on a built-in model and task. */
const SMALL = `
name = "small"
about = "Four runs."
models = ["ladder-nano"]
seeds = [1, 2]
train = { steps = 4, batch_size = 4, eval_every = 2 }
[[task]]
name = "sentences"
max_length = 16
[[method]]
name = "head"
learning_rate = 1e-2
[[method]]
name = "lora"
learning_rate = 1e-2
`;

test("a run's page shows its spec, downloads its record, and removes it with undo", async () => {
  const { context, page, openFile } = await results();
  const text = nativeRecord({ note: "A note to read." });
  await openFile("one.jsonl", text);
  await rows(page).getByRole("button").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("A note to read.").waitFor();
  assert.match((await dialog.locator("pre").textContent()) ?? "", /"count": 10000/);
  const [saved] = await Promise.all([
    page.waitForEvent("download"),
    dialog.getByRole("button", { name: "Download run" }).click(),
  ]);
  assert.equal(saved.suggestedFilename(), "00000000000000a1-cpu.jsonl");
  const lines = (await readFile(await saved.path(), "utf8")).trim().split("\n");
  assert.equal(lines.length, text.trim().split("\n").length);
  await dialog.getByRole("button", { name: "Remove from view" }).click();
  await page.getByText("No runs yet").waitFor();
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page).waitFor();
  await rows(page).getByRole("button").click();
  await dialog.getByRole("button", { name: "Use in the Lab" }).click();
  await page.getByLabel("Number of parameters").waitFor();
  await eventually(async () => assert.equal(await page.getByLabel("Number of parameters").inputValue(), "10000"));
  await context.close();
});

test("records of the server appear, grow and disappear", async (t) => {
  if (!place.home) return t.skip("needs APET_BIN: the test writes into the server's store");
  await writeServerRecord(place, "00000000000000c1.jsonl", nativeRecord({ run: "00000000000000c1", ended: false }));
  const { context, page } = await results();
  const row = rows(page).filter({ hasText: "server" });
  await row.getByText("unfinished").waitFor();
  await toLab(page);
  const offered = await page.getByRole("region", { name: "Interrupted" }).count();
  assert.equal(offered, 0, "runs of others are not offered for resuming");
  await toResults(page);
  await writeServerRecord(place, "00000000000000c1.jsonl", nativeRecord({ run: "00000000000000c1" }));
  await row.getByText("done").waitFor({ timeout: 15_000 });
  await removeServerRecord(place, "00000000000000c1.jsonl");
  await page.getByText("No runs yet").waitFor({ timeout: 15_000 });
  await context.close();
});

/** Writes a record into the tab's store. @param {import("playwright-core").Page} page @param {string} run */
const keepInTab = (page, run) =>
  page.evaluate(
    async ([name, text]) => {
      const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("runs", { create: true });
      const out = await (await runs.getFileHandle(`${name}`, { create: true })).createWritable();
      await out.write(`${text}`);
      await out.close();
    },
    [`${run}-cpu.jsonl`, nativeRecord({ run })],
  );

test("a record of this tab is deleted permanently, unless undone in time", async () => {
  const { context, page } = await newUser(place);
  await keepInTab(page, "00000000000000e1");
  await page.reload();
  await toResults(page);
  const remove = async () => {
    await rows(page).filter({ hasText: "this tab" }).getByRole("button").click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByText("No runs yet").waitFor();
  };
  await remove();
  await page.getByRole("button", { name: "Undo" }).click();
  await rows(page).waitFor();
  assert.equal((await storedRecords(page)).length, 1);
  await remove();
  await page.getByRole("button", { name: "Undo" }).waitFor({ state: "detached" });
  await page.waitForFunction(async () => {
    const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("runs");
    return (await runs.keys().next()).done;
  });
  await page.reload();
  await page.getByText("No runs yet").waitFor();
  await context.close();
});

test("a deleted run stays deleted after a reload; a removed run reappears when its file is opened again", async () => {
  const { context, page, openFile } = await results();
  await keepInTab(page, "00000000000000e2");
  await page.reload();
  const remove = async (/** @type {string} */ word) => {
    await rows(page).getByRole("button").click();
    await page.getByRole("dialog").getByRole("button", { name: word }).click();
    await page.getByText("No runs yet").waitFor();
  };
  await remove("Delete");
  await page.reload();
  await page.getByText("No runs yet").waitFor();
  await eventually(async () => assert.deepEqual(await storedRecords(page), [])); // deleted before records are read
  assert.equal(await rows(page).count(), 0);
  await openFile("one.jsonl", nativeRecord());
  await rows(page).waitFor();
  await remove("Remove");
  await openFile("one.jsonl", nativeRecord());
  await rows(page).waitFor();
  await openFile("one.jsonl", nativeRecord());
  await page.getByText("one.jsonl: nothing new").waitFor();
  await context.close();
});

const good = nativeRecord();
const [header = "", ...rest] = good.split("\n");
/** Malicious records, with a pattern of the error. @type {[string, string, RegExp][]} */
const hostile = [
  ["empty.jsonl", "", /no lines/],
  ["rubbish.jsonl", "\u0000\uFFFD not json\n", /line 1/],
  ["headless.jsonl", rest.join("\n"), /line 1.*header/],
  ["future.jsonl", good.replace('"record":"1.1"', '"record":"9.0"'), /version "9\.0"/],
  ["nan.jsonl", `${header}\n{"kind":"step","step":1,"loss":NaN}\n{"kind":"note","step":1,"text":"x"}\n`, /line 2/],
  ["deep.jsonl", `${header}\n${"[".repeat(100_000)}\n`, /line 2/],
  ["wide.jsonl", `{"kind":"${"x".repeat(5_000_000)}"}\n`, /line 1/],
  ["negative.jsonl", good.replace('"trainable_parameters":10000', '"trainable_parameters":-1'), /trainable_parameters/],
];

test("malicious records get a short error and change nothing", async () => {
  const { context, page, openFile, wrong } = await results();
  await openFile("good.jsonl", good);
  await rows(page).waitFor();
  for (const [name, text, names] of hostile) {
    await openFile(name, text);
    const message = page.getByRole("alert").getByText(new RegExp(`^${name.replace(".", "\\.")}: `));
    await message.waitFor();
    const said = (await message.textContent()) ?? "";
    assert.match(said, names, name);
    assert.ok(said.length < 400, `${name}: expected a short error, found ${said.length} characters`);
    assert.equal(await rows(page).count(), 1);
    await page.getByRole("button", { name: "Dismiss" }).first().click();
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("malicious archives and files get a short error and change nothing", async () => {
  const { context, page, openFile, wrong } = await results();
  await openFile("good.jsonl", good);
  await rows(page).waitFor();
  const bomb = zipSync({ "runs/bomb.jsonl": new Uint8Array(300e6) }); // 300 kB that unpack to 300 MB
  const whole = zipSync({ "runs/a.jsonl": strToU8(good.replace('"record":"1.1"', '"record":"9.0"')) });
  const names = ["../../runs/x.jsonl", "/etc/runs.jsonl", "runs/../../x.jsonl", "thetas/x.safetensors"];
  const elsewhere = zipSync(Object.fromEntries(names.map((name) => [name, strToU8("rubbish")])));
  for (const [name, bytes, says] of /** @type {[string, Uint8Array, RegExp][]} */ ([
    ["bomb.zip", bomb, /contains no record/],
    ["cut.zip", whole.subarray(0, whole.length / 2), /cannot be unpacked/],
    ["empty.zip", zipSync({}), /contains no record/],
    ["future.zip", whole, /version "9\.0"/],
    ["elsewhere.zip", elsewhere, /line 1/],
    ["rubbish.zip", strToU8("rubbish"), /cannot be unpacked/],
  ])) {
    await page.getByTestId("open-records").setInputFiles(file(name, Buffer.from(bytes)));
    const message = page.getByRole("alert").getByText(new RegExp(`^${name.replace(".", "\\.")}: `)).first();
    await message.waitFor();
    assert.match((await message.textContent()) ?? "", says, name);
    assert.equal(await rows(page).count(), 1, name);
  }
  // A file larger than any record, and one with a single huge line: both are made in the page.
  for (const [name, megabytes, says] of /** @type {[string, number, RegExp][]} */ ([
    ["large.jsonl", 1100, /expected a record of at most 268 MB/],
    ["line.jsonl", 200, /line 1/],
  ])) {
    await page.evaluate(
      ({ name, megabytes }) => {
        const piece = new Blob(["x".repeat(1e6)]);
        const dropped = new DataTransfer();
        dropped.items.add(new File(['{"kind":"', ...Array(megabytes).fill(piece), '"}\n'], name));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
      },
      { name, megabytes },
    );
    const message = page.getByRole("alert").getByText(new RegExp(`^${name.replace(".", "\\.")}: `));
    await message.waitFor({ timeout: 120_000 });
    const said = (await message.textContent()) ?? "";
    assert.match(said, says, name);
    assert.ok(said.length < 400, `${said.length} characters`);
    assert.equal(await rows(page).count(), 1, name);
  }
  // The page still works.
  await rows(page).getByRole("button").click();
  await page.getByRole("dialog").getByText("Spec", { exact: true }).waitFor();
  assert.deepEqual(wrong, []);
  await context.close();
});

test("names from records are text, never HTML", async () => {
  const { context, page, openFile, wrong } = await results();
  const script = "<img src=x onerror='document.title=1'><script>document.title=2</script>";
  await openFile(`${script.replaceAll("/", "")}.jsonl`, nativeRecord({ model: script, note: script }));
  await rows(page).waitFor();
  await page.getByRole("checkbox", { name: /^Plot/ }).check();
  await page
    .getByRole("img", { name: /^Training loss against step/ })
    .locator("svg")
    .last()
    .waitFor();
  await page
    .getByRole("img", { name: /^Accuracy on/ })
    .locator("svg")
    .first()
    .hover();
  await rows(page).getByRole("button").click();
  await page.getByRole("dialog").getByText("<script>").first().waitFor();
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.equal(await page.title(), "APET Lab");
  assert.deepEqual(wrong, []);
  await context.close();
});
