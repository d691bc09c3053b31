// Models in addition to the host's: from the hub, from an address, from the user's folder; and
// the kept files of every model.

import { signal } from "@preact/signals";
import { address, models } from "./catalogue";
import type { StoredModel, ModelSource, ModelUrls } from "./sources";
import * as store from "./opfs";

/** A model that can be chosen. */
export interface Offered {
  name: string;
  /** The size of its files in bytes, as far as it is known. */
  bytes: number;
  source: ModelSource;
  /** Whether all its files are in this browser. */
  whole: boolean;
}

/** A model with kept files. */
export interface KeptModel extends Offered {
  /** Bytes that are kept. */
  here: number;
}

/** The models with kept files. */
export const keptModels = signal<KeptModel[]>([]);
/** Models added during this visit; possibly without kept files yet. */
const added = signal<Offered[]>([]);

/** The host's models, then the user's. */
export function offered(): Offered[] {
  const kept = new Map(keptModels.value.map((m) => [m.name, m]));
  const all: Offered[] = models().map(({ name, bytes, files }) => {
    const source = {
      config: address(files.config),
      tokenizer: address(files.tokenizer),
      weights: address(files.weights),
    };
    return { name, bytes, source, whole: kept.get(name)?.whole ?? false };
  });
  for (const model of [...added.value, ...keptModels.value])
    if (!all.some((m) => m.name === model.name)) all.push({ ...model, whole: kept.get(model.name)?.whole ?? false });
  return all;
}

/** Reads which models have kept files. */
export async function findKeptModels(): Promise<void> {
  const found: KeptModel[] = [];
  for (const name of await store.folders("models")) {
    const text = await (await store.file(["models", name], "source.json"))?.text();
    const kept = text ? read(text) : undefined;
    if (!kept || !Object.keys(kept.files).some((file) => file.endsWith(".safetensors"))) continue;
    const sizes = new Map((await store.files("models", name)).map((file) => [file.name, file.size]));
    const files = Object.entries(kept.files).map(([file, { size }]) => ({ here: sizes.get(file) ?? 0, size }));
    const here = files.reduce((sum, f) => sum + f.here, 0);
    const bytes = files.reduce((sum, f) => sum + (f.size ?? f.here), 0);
    const whole = files.every((f) => f.size === f.here);
    found.push({ name, bytes, here, whole, source: kept.source ?? { files: [] } });
  }
  keptModels.value = found;
}

function read(text: string): StoredModel | undefined {
  try {
    return JSON.parse(text) as StoredModel;
  } catch {
    return undefined;
  }
}

/** Removes the kept files of a model. */
export async function removeKeptModel(name: string): Promise<void> {
  await store.remove(["models"], name);
  added.value = added.value.filter((m) => m.name !== name);
  await findKeptModels();
}

const HUB = "https://huggingface.co";

/** Adds the model of `ORG/REPO` on the hub, or of a folder's address; returns its name. */
export function addAddress(typed: string): string {
  const text = typed.trim();
  const repository = new RegExp(`^(?:${HUB}/)?([\\w.-]+/[\\w.-]+)(?:/tree/main)?/?$`).exec(text)?.[1];
  const base = repository ? new URL(`${HUB}/${repository}/resolve/main/`) : folderAddress(text);
  const at = (file: string) => new URL(file, base).href;
  const urls = { config: at("config.json"), tokenizer: at("tokenizer.json"), weights: at("model.safetensors") };
  const segments = (repository ?? base.pathname).split("/").filter(Boolean);
  return add(segments.at(-1) ?? base.hostname, urls);
}

function folderAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const local = url?.protocol === "http:" && ["127.0.0.1", "localhost"].includes(url.hostname);
  if (!url || (url.protocol !== "https:" && !local))
    throw new Error(`"${text}": expected ORG/REPO, or the https:// address of a folder with config.json in it.`);
  url.search = url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

/** Adds a model from the user's files; returns its name. */
export function addFiles(folder: string, files: File[]): string {
  return add(folder || "own-model", { files });
}

/** Whether files belong to a model: weights, a config or a tokenizer. */
export const areModel = (files: File[]) =>
  files.some((f) => /\.safetensors$/i.test(f.name) || f.name === "config.json" || f.name === "tokenizer.json");

function add(wanted: string, source: ModelSource): string {
  const stem =
    wanted
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[.-]+|-+$/g, "")
      .slice(0, 40) || "own-model";
  const taken = (name: string) => offered().some((m) => m.name === name && !alike(m.source, source));
  let name = stem;
  for (let n = 2; taken(name); n++) name = `${stem}-${n}`;
  const model = { name, bytes: 0, source, whole: false };
  added.value = [...added.value.filter((m) => m.name !== name), model];
  return name;
}

/** Whether two sources have the same address, or both are the user's files, which may be the same files again. */
function alike(a: ModelSource, b: ModelSource): boolean {
  const weights = (source: ModelSource) => ("files" in source ? "" : (source as ModelUrls).weights);
  return weights(a) === weights(b);
}
