// @ts-check
// Common parts of the browser tests: a server with models and a task, Chromium, a page
// whose errors are recorded, and screenshots.
//
//   APET_URL   a running server; or
//   APET_BIN   the binary `apet`, started on a free port with a temporary store
//   APET_PAGE  a folder with the built page, for APET_BIN (default: the page inside it)
//   SHOTS      folder for screenshots (default: no screenshots)
//   CHROMIUM   the browser (default: /usr/bin/chromium)
//   BROWSER    "firefox": Firefox at $FIREFOX (default: /usr/bin/firefox-esr) instead of Chromium

import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium, firefox } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

export const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

/** Timeout of a short run on two busy cores, in milliseconds. */
export const RUN_MS = 240_000;
/** Timeout of a run on WebGPU with a software adapter: seconds per step, most of a minute before the first. */
export const SLOW_MS = 900_000;

/**
 * Starts a server and a browser; `close` ends both.
 * @param {{ webgpu?: boolean, serve?: string[], browser?: string }} [options] `serve`: options of `apet serve`
 * @returns {Promise<Place>}
 */
export async function open({ webgpu = true, serve: options = [], browser: name = process.env.BROWSER } = {}) {
  const server = process.env.APET_URL ? { url: process.env.APET_URL, home: "", close: async () => {} } : await serve(options);
  const browser =
    name === "firefox"
      ? await firefox.launch({ channel: "moz-firefox", executablePath: FIREFOX, firefoxUserPrefs: { "dom.webgpu.enabled": webgpu, "gfx.webgpu.ignore-blocklist": webgpu } })
      : await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: webgpu ? [...FLAGS, ...WEBGPU] : FLAGS });
  return {
    ...server,
    browser,
    close: async () => {
      await browser.close();
      await server.close();
    },
  };
}

/** @typedef {{ url: string, home: string, browser: import("playwright-core").Browser, close(): Promise<void> }} Place */

/** Starts `apet serve` with a temporary store, which has tiny models in addition to the built-in ones. */
async function serve(/** @type {string[]} */ options) {
  const binary = process.env.APET_BIN;
  if (!binary) throw new Error("Set APET_URL to a running server or APET_BIN to the binary `apet`.");
  const home = await mkdtemp(path.join(tmpdir(), "apet-browser-"));
  const env = { ...process.env, APET_HOME: home };
  const run = promisify(execFile);
  for (const model of ["bert-tiny", "bloom-tiny", "t5-tiny"])
    await run(binary, ["fetch", path.join(root, "tests/fixtures", model)], { env });
  await mkdir(path.join(home, "runs"), { recursive: true });

  const page = process.env.APET_PAGE ? ["--page", process.env.APET_PAGE] : [];
  const child = spawn(binary, ["serve", "--port", "0", ...page, ...options], { env, stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (part) => {
      said += part;
      const found = /http:\/\/\S+/.exec(said);
      if (found) resolve(found[0]);
    });
    child.on("exit", (code) => reject(new Error(`apet serve ended with ${code}: ${said}`)));
  });
  return {
    url,
    home,
    close: async () => {
      child.kill();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/**
 * Opens the page as a new user, with an empty profile. `wrong` collects what should never
 * happen: uncaught errors, policy violations, requests to other hosts.
 * @param {Place} place
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function newUser(place, options = {}) {
  const context = await place.browser.newContext({
    viewport: { width: 1280, height: 800 },
    acceptDownloads: true,
    ...options,
  });
  const page = await context.newPage();
  /** @type {string[]} */
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") wrong.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(place.url).origin && !/^(blob|data):/.test(request.url()))
      wrong.push(`request to another host: ${request.url()}`);
  });
  await page.goto(place.url);
  return { context, page, wrong };
}

/** @typedef {import("playwright-core").Page} Page */

/**
 * Fills the form with a small setup (by default ladder-nano on sentences, on the processor), and waits for the counts.
 * @param {Page} page
 * @param {{ model?: string, objective?: string, steps?: number, every?: number, count?: number, seed?: number, device?: "cpu" | "webgpu", batch?: number, tokens?: number }} [choice]
 */
export async function choose(
  page,
  {
    model = "ladder-nano",
    objective = "class_head",
    steps = 60,
    every = 20,
    count = 2000,
    seed = 1,
    device = "cpu",
    batch = 8,
    tokens = 32,
  } = {},
) {
  await page.getByLabel("Pretrained model").selectOption(model);
  await page.getByLabel("Task", { exact: true }).first().selectOption("sentences");
  await page.getByLabel(device === "cpu" ? "Processor (cpu)" : "WebGPU").check({ force: true });
  await page.getByLabel("Number of parameters").fill(String(count));
  await page.getByLabel("Steps", { exact: true }).fill(String(steps));
  await page.getByLabel("Batch size").fill(String(batch));
  await page.getByLabel("Learning rate").fill("0.01");
  await page.getByLabel("Seed", { exact: true }).fill(String(seed));
  const more = page.locator("details").filter({ has: page.getByText("More", { exact: true }) });
  if ((await more.getAttribute("open")) === null) await more.locator("summary").click();
  await page.getByLabel("Evaluate every").fill(String(every));
  await page.getByLabel("Maximum length").fill(String(tokens));
  await page.getByLabel("Objective", { exact: true }).selectOption(objective);
  await page
    .getByTestId("counts")
    .getByText(new Intl.NumberFormat("en").format(count), { exact: true })
    .waitFor({ timeout: RUN_MS });
}

/** The button that starts a run. @param {Page} page */
export const trainButton = (page) => page.getByRole("button", { name: "Train", exact: true });

/**
 * Repeats a check until it does not throw, and returns its result: a page may need a moment after an action.
 * @template T
 * @param {() => T | Promise<T>} check
 * @param {number} [timeout]
 */
export async function eventually(check, timeout = 10_000) {
  for (const end = Date.now() + timeout; ; await new Promise((next) => setTimeout(next, 50))) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

/**
 * Waits until an element also matches a selector, such as ":enabled".
 * @param {import("playwright-core").Locator} locator
 * @param {string} selector
 * @param {number} [timeout]
 */
export const becomes = (locator, selector, timeout = 30_000) =>
  locator.and(locator.page().locator(selector)).waitFor({ state: "attached", timeout });

/** The page's address now: `page.url()` follows `history.replaceState` with a delay. @param {Page} page */
export const address = (page) => page.evaluate(() => location.href);

/**
 * Waits for a status line that matches a pattern, and returns it. Fails early if the page reports a problem.
 * @param {Page} page @param {RegExp} pattern @param {number} [timeout]
 */
export async function status(page, pattern, timeout = RUN_MS) {
  const line = page.getByTestId("status");
  const found = line.filter({ hasText: pattern });
  const problem = page.getByTestId("problem");
  const ended = line.filter({ hasText: /^(Diverged|Stopped)/ });
  await found.or(problem).or(ended).first().waitFor({ timeout });
  if ((await found.count()) === 0)
    throw new Error(`The page says: ${await problem.or(ended).first().textContent()}`);
  return (await line.textContent()) ?? "";
}

/** Waits until a run has done a step. @param {Page} page @param {number} step @param {number} [timeout] */
export const step = (page, step, timeout = RUN_MS) =>
  page.waitForFunction(
    ([selector, least]) => {
      const found = /Step ([\d,]+) of/.exec(document.querySelector(String(selector))?.textContent ?? "");
      return found?.[1] && Number(found[1].replace(",", "")) >= Number(least);
    },
    ["[data-testid=status]", step],
    { timeout, polling: 50 },
  );

/**
 * The records in this tab's store, each as its lines.
 * @param {Page} page
 * @returns {Promise<{ kind: string, [field: string]: any }[][]>}
 */
export function storedRecords(page) {
  return page.evaluate(async () => {
    const found = [];
    const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("runs", { create: true });
    for await (const handle of runs.values()) {
      if (!(handle instanceof FileSystemFileHandle)) continue;
      const text = await (await handle.getFile()).text();
      found.push(
        text
          .split("\n")
          .filter(Boolean)
          .map((line) => JSON.parse(line)),
      );
    }
    return found;
  });
}

/** Opens Results. @param {Page} page */
export const toResults = (page) =>
  page
    .getByRole("navigation")
    .getByRole("link", { name: /Results/ })
    .click();
/** Opens the Lab. @param {Page} page */
export const toLab = (page) => page.getByRole("navigation").getByRole("link", { name: /Lab/ }).click();

/** Takes a screenshot, if SHOTS is set. @param {Page} page @param {string} name */
export async function shot(page, name, fullPage = true) {
  if (!process.env.SHOTS) return;
  await mkdir(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: path.join(process.env.SHOTS, `${name}.png`), fullPage });
}

/**
 * A file for a file chooser.
 * @param {string} name
 * @param {string | Buffer} content
 */
export const file = (name, content) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) });

/** Writes a record into the server's store. @param {Place} place @param {string} name @param {string} text */
export const writeServerRecord = (place, name, text) => writeFile(path.join(place.home, "runs", name), text);

/** Removes a record from the server's store. @param {Place} place @param {string} name */
export const removeServerRecord = (place, name) => rm(path.join(place.home, "runs", name));

const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The violations that axe finds, one line each. @param {Page} page */
export async function axe(page) {
  await page.evaluate(axeSource);
  return page.evaluate(async () => {
    const { violations } = await /** @type {any} */ (globalThis).axe.run();
    return violations.flatMap((/** @type {any} */ v) =>
      v.nodes.map((/** @type {any} */ n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary}`),
    );
  });
}

/** Overflow of the page beyond the screen, and texts cut off by their boxes. @param {Page} page @param {string} [of] */
export const misplaced = (page, of = "button, label span, h1, h2, dt, dd, p, figcaption span") =>
  page.evaluate((of) => {
    const wide = document.documentElement.scrollWidth - innerWidth;
    const cut = [...document.querySelectorAll(of)]
      .filter(
        (e) =>
          e instanceof HTMLElement &&
          e.offsetParent &&
          !e.closest(".visually-hidden") &&
          e.scrollWidth > e.clientWidth + 1 &&
          getComputedStyle(e).display !== "inline",
      )
      .map((e) => `cut off: ${e.textContent}`);
    return wide > 0 ? [`${wide} px beyond the screen`, ...cut] : cut;
  }, of);
