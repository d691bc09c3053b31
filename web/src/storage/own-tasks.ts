// The user's data as tasks: kept in this browser, never uploaded.

import { signal } from "@preact/signals";
import type { SplitSources } from "./sources";
import * as store from "./opfs";

/** A task made from the user's files. */
export interface OwnTask {
  name: string;
  columns: string[];
  files: { train: File; dev?: File; test?: File };
}

/** The tasks made from the user's files. */
export const ownTasks = signal<OwnTask[]>([]);

const FORMATS = /\.(csv|tsv|jsonl|json)$/i;
const SPLITS = [
  ["train", /train/i],
  ["dev", /valid|\bval\b|dev/i],
  ["test", /test/i],
] as const;
type Split = (typeof SPLITS)[number][0];

/** The first row ends within this many bytes, whatever it contains. */
const PEEK_BYTES = 1024 * 1024;

/** Makes a task from dropped files: a single file, or train, validation and test files. */
export async function addOwnTask(dropped: File[], taken: string[]): Promise<OwnTask> {
  const wrong = dropped.find((f) => !FORMATS.test(f.name));
  if (wrong) throw new Error(`${wrong.name}: expected a .csv, .tsv, .jsonl or .json file.`);
  const files: Partial<Record<Split, File>> = {};
  for (const file of dropped) {
    const split = dropped.length === 1 ? "train" : SPLITS.find(([, pattern]) => pattern.test(file.name))?.[0];
    if (!split)
      throw new Error(`${file.name}: with several files, each must have train, validation (or dev) or test in its name.`);
    if (files[split]) throw new Error(`${file.name}: ${files[split].name} is already the ${split} file.`);
    files[split] = file;
  }
  const { train } = files;
  if (!train) throw new Error("No file has train in its name; a training file is required.");
  const columns = await peekColumns(train);
  if (columns.length < 2)
    throw new Error(
      `${train.name}: found ${columns.length === 1 ? `one column (${columns[0]})` : "no columns"}, expected at least a text and a label column.`,
    );
  const task: OwnTask = { name: freeName(train.name, taken), columns, files: { ...files, train } };
  ownTasks.value = [...ownTasks.value, task];
  await keep(task);
  return task;
}

/** Removes a task with its files. */
export async function removeOwnTask(name: string): Promise<void> {
  ownTasks.value = ownTasks.value.filter((t) => t.name !== name);
  await store.remove(["tasks"], name);
}

/** Reads the tasks kept from earlier visits. */
export async function findOwnTasks(): Promise<void> {
  const found: OwnTask[] = [];
  for (const name of await store.folders("tasks")) {
    const files: Partial<Record<Split, File>> = {};
    for (const file of await store.files("tasks", name)) {
      const split = file.name.split(".")[0] as Split;
      if (SPLITS.some(([s]) => s === split)) files[split] = file;
    }
    if (!files.train) continue;
    found.push({ name, columns: await peekColumns(files.train), files: { ...files, train: files.train } });
  }
  ownTasks.value = found;
}

/** The files of a task, for the Worker to read. */
export function sourcesOf(task: OwnTask): SplitSources {
  const { train, dev, test } = task.files;
  const source = (file: File) => ({ name: file.name, file });
  return { train: source(train), ...(dev && { dev: source(dev) }), ...(test && { test: source(test) }) };
}

async function keep(task: OwnTask): Promise<void> {
  for (const [split, file] of Object.entries(task.files)) {
    await store.write(["tasks", task.name], `${split}.${file.name.split(".").pop()?.toLowerCase()}`, file);
  }
}

function freeName(file: string, taken: string[]): string {
  const stem =
    file
      .replace(FORMATS, "")
      .toLowerCase()
      .replace(/[^a-z0-9_-]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 40) || "own-data";
  let name = stem;
  for (let n = 2; taken.includes(name); n++) name = `${stem}-${n}`;
  return name;
}

/** The column names of the first row, to be offered in the form; Rust reads the data. */
async function peekColumns(file: File): Promise<string[]> {
  const start = (await file.slice(0, PEEK_BYTES).text()).replace(/^\uFEFF/, "");
  if (/\.csv$/i.test(file.name)) return cells(start);
  if (/\.tsv$/i.test(file.name)) return (start.split(/\r?\n/, 1)[0] ?? "").split("\t");
  try {
    return Object.keys(JSON.parse(firstObject(start)) as object);
  } catch {
    return [];
  }
}

/** The first row of a CSV, whose quoted cells may contain line breaks. */
function cells(text: string): string[] {
  const found: string[] = [];
  for (const [, quoted, bare = "", end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/g)) {
    const name = quoted?.replaceAll('""', '"') ?? bare;
    if (name) found.push(name);
    if (end !== ",") break;
  }
  return found;
}

/** The first {...} of a text, ignoring braces within strings. */
function firstObject(text: string): string {
  const from = text.indexOf("{");
  let depth = 0;
  for (const { 0: part, index } of text.slice(from).matchAll(/"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (part === "{") depth++;
    else if (part === "}" && --depth === 0) return text.slice(from, from + index + 1);
  }
  return "";
}
