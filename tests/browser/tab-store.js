// @ts-check
// A tab's store as files: everything in its origin private file system, and its local storage.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/**
 * @typedef {{ files: Record<string, string>, local: Record<string, string> }} TabStore
 *   `files`: contents in base64 by path; `local`: local storage
 */

/** Stands for the page's own address, which differs from test to test. */
const ORIGIN = "http://origin.invalid";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** The stored snapshot of a tab. */
export const FOLDER = `${root}tests/fixtures/stability/tab`;

/** Files of the repository that a snapshot does not repeat, by their path in the store. */
export const REPOSITORY = /** @type {Record<string, string>} */ ({
  "models/ladder-nano/config.json": "web/public/models/ladder-nano/config.json",
  "models/ladder-nano/model.safetensors": "web/public/models/ladder-nano/model.safetensors",
  "models/ladder-nano/tokenizer.json": "web/public/models/ladder-nano/tokenizer.json",
  "models/own-bert/config.json": "tests/fixtures/bert-tiny/config.json",
  "models/own-bert/model.safetensors": "tests/fixtures/bert-tiny/model.safetensors",
  "models/own-bert/tokenizer.json": "tests/fixtures/bert-tiny/tokenizer.json",
});

/** @param {import("playwright-core").Page} page @returns {Promise<TabStore>} */
export async function readStore(page) {
  const store = await page.evaluate(async () => {
    /** @type {Record<string, string>} */
    const files = {};
    const walk = async (/** @type {FileSystemDirectoryHandle} */ folder, /** @type {string} */ path) => {
      for await (const entry of folder.values()) {
        if (entry instanceof FileSystemDirectoryHandle) {
          await walk(entry, `${path}${entry.name}/`);
        } else if (entry instanceof FileSystemFileHandle) {
          const bytes = new Uint8Array(await (await entry.getFile()).arrayBuffer());
          let text = "";
          for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
          files[path + entry.name] = btoa(text);
        }
      }
    };
    await walk(await navigator.storage.getDirectory(), "");
    return { files, local: { ...localStorage } };
  });
  const origin = new URL(page.url()).origin;
  const replaced = Object.entries(store.files).map(([path, base64]) => [
    path,
    path.endsWith("source.json") ? encode(decode(base64).toString().replaceAll(origin, ORIGIN)) : base64,
  ]);
  return { files: Object.fromEntries(replaced), local: store.local };
}

/** Writes a store into an origin in which no page of the Lab is open. @param {import("playwright-core").Page} page @param {TabStore} store */
export async function writeStore(page, { files, local }) {
  const origin = new URL(page.url()).origin;
  const replaced = Object.entries(files).map(([path, base64]) => [
    path,
    path.endsWith("source.json") ? encode(decode(base64).toString().replaceAll(ORIGIN, origin)) : base64,
  ]);
  await page.evaluate(
    async ({ files, local }) => {
      for (const [path, base64] of files) {
        const names = String(path).split("/");
        const name = names.pop() ?? "";
        let folder = await navigator.storage.getDirectory();
        for (const part of names) folder = await folder.getDirectoryHandle(part, { create: true });
        const stream = await (await folder.getFileHandle(name, { create: true })).createWritable();
        await stream.write(Uint8Array.from(atob(String(base64)), (c) => c.charCodeAt(0)));
        await stream.close();
      }
      for (const [key, value] of Object.entries(local)) localStorage.setItem(key, value);
    },
    { files: replaced, local },
  );
}

/** The snapshot of `FOLDER`, whole. @returns {Promise<TabStore>} */
export async function storedTab() {
  const { paths, local } = JSON.parse((await readFile(`${FOLDER}/store.json`)).toString());
  /** @type {Record<string, string>} */
  const files = {};
  for (const path of paths) {
    const from = REPOSITORY[path];
    files[path] = encode(await readFile(from ? `${root}${from}` : `${FOLDER}/${path}`));
  }
  return { files, local };
}

/** @param {string | Buffer} content */
const encode = (content) => Buffer.from(content).toString("base64");

/** @param {string} base64 */
export const decode = (base64) => Buffer.from(base64, "base64");

/** The last loss of each step of a record. @param {string} record */
export function losses(record) {
  const lines = record.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const steps = lines.filter((line) => line.kind === "step");
  return [...new Map(steps.map((line) => [line.step, line.loss])).values()];
}
