// @ts-check
// The time to open, sort, filter and plot 10,000 records, for `cargo xtask bench --page`: one JSON object per line.
//
//   APET_BIN=target/release/apet node tests/browser/page-bench.js [ROUNDS]

import { newUser, open, toResults } from "./harness.js";
import { nativeRecord } from "./native-record.js";

const RECORDS = 10_000;
// The default figure is already drawn: it comes last.
const FIGURES = ["spread", "apart", "placements", "thresholds", "convergence", "trade", "parallel", "score"];

/** Records of a study: models of three sizes, methods and counts, many seeds. */
function records() {
  const models = [1e6, 1e7, 1e8];
  const setups = [
    { method: "full", count: 0 },
    { method: "head", count: 0 },
    { method: "lora", count: 1024 },
    { method: "bitfit", count: 2000 },
    ...[10, 100, 1000, 10_000, 100_000].map((count) => ({ method: "apet", count })),
  ];
  return Array.from({ length: RECORDS }, (_, i) => {
    const size = i % models.length;
    const setup = setups[Math.floor(i / models.length) % setups.length] ?? { method: "head", count: 0 };
    const seed = Math.floor(i / (models.length * setups.length)) + 1;
    const grown = setup.method === "apet" ? Math.log10(setup.count) / 5 : setup.method === "head" ? 0 : 1;
    return nativeRecord({
      run: i.toString(16).padStart(16, "0"),
      ...setup,
      ...(setup.method === "full" && { count: models[size] ?? 0 }),
      seed: Math.floor(seed / 4) + 1,
      placement: seed % 4,
      model: `model-${size}`,
      parameters: models[size] ?? 0,
      test: 0.6 + 0.05 * size + 0.1 * grown + (seed % 7) / 500,
      steps: 10,
      bytes: models[size] ?? 0,
    });
  }).join("");
}

const rounds = Number(process.argv[2] ?? 3);
const place = await open();
const study = records();

/** @typedef {import("playwright-core").Page} Page */

/**
 * Milliseconds from `act` in the page until `done` returns true and the result is drawn.
 * @template T
 * @param {Page} page @param {(argument: T) => void} act @param {(argument: T) => boolean} done @param {T} argument
 */
const took = (page, act, done, argument) =>
  page.evaluate(
    async ([act, done, argument]) => {
      const of = (/** @type {string} */ text) => Function(`return ${text}`)();
      const begun = performance.now();
      of(act)(argument);
      while (!of(done)(argument)) await new Promise((next) => requestAnimationFrame(next));
      await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
      return performance.now() - begun;
    },
    /** @type {const} */ ([act.toString(), done.toString(), argument]),
  );

for (let round = 0; round < rounds; round++) {
  const { context, page, wrong } = await newUser(place, { bypassCSP: true });
  const painted = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0;
  await page.waitForFunction(painted);
  const paint = await page.evaluate(painted);
  await toResults(page);
  const say = (/** @type {string} */ what, /** @type {number} */ ms) => console.log(JSON.stringify({ round, what, ms }));
  say("first paint", paint);
  await page.evaluate((text) => void Object.assign(window, { study: new File([text], "study.jsonl") }), study);
  say(
    "open",
    await took(
      page,
      () => {
        const dropped = new DataTransfer();
        dropped.items.add(/** @type {any} */ (window).study);
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
      },
      (runs) =>
        document.querySelector(".figure .plot svg") !== null && [...document.querySelectorAll("p, span, h2")].some((e) => e.textContent?.includes(runs)),
      `${RECORDS.toLocaleString("en")} runs`,
    ),
  );

  const sorted = (/** @type {string} */ name) =>
    took(
      page,
      (name) => [...document.querySelectorAll("th button")].find((b) => b.textContent?.startsWith(name))?.dispatchEvent(new MouseEvent("click", { bubbles: true })),
      (name) => [...document.querySelectorAll("th[aria-sort]")].some((th) => th.textContent?.startsWith(name) && th.getAttribute("aria-sort") !== "none"),
      name,
    );
  for (const name of ["Trained", "Model", "Test"]) say(`sort by ${name}`, await sorted(name));
  for (const text of ["lora", "", "test>70% apet", ""])
    say(
      `filter "${text}"`,
      await took(
        page,
        (text) => {
          const box = /** @type {HTMLInputElement} */ (document.querySelector("input[type=search]"));
          box.value = text;
          box.dispatchEvent(new InputEvent("input", { bubbles: true }));
        },
        (text) => [...document.querySelectorAll("main *")].some((e) => e.children.length === 0 && /^[\d,]+ of [\d,]+ runs$/.test(e.textContent ?? "")) === (text !== ""),
        text,
      ),
    );
  for (const name of FIGURES)
    say(
      `figure ${name}`,
      await took(
        page,
        (name) => {
          const choice = [...document.querySelectorAll("select")].find((s) => [...s.options].some((o) => o.value === "placements"));
          if (!choice) return;
          choice.value = name;
          choice.dispatchEvent(new Event("change", { bubbles: true }));
        },
        (name) => {
          const section = document.getElementById("figure-title")?.closest("section");
          return section?.querySelector("select")?.value === name && section.querySelector(".plot svg, .empty") !== null;
        },
        name,
      ),
    );
  if (wrong.length > 0) throw new Error(wrong.join("; "));
  await context.close();
}
await place.close();
