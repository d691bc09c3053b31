// Downloads a model's files into the store, models/NAME/, where the Worker's wasm reads them.
// Each kept file is a prefix of the whole file, so every download resumes an earlier one.

import { megabytes } from "../format";
import { Unreachable, origin, type FilePart, type Origin } from "./origin";
import type { StoredModel, ModelSource, Transfer, WeightFile } from "./sources";

interface DownloadOptions {
  /** The shards that the text of an index names. */
  shards(index: string): string[];
  /** Rejects an unsupported model by its config, its tokenizer and the headers of its weights. */
  check(weights: WeightFile[]): Promise<void>;
  report(transfer: Transfer): void;
  signal: AbortSignal;
}

const CONFIG = "config.json";
const TOKENIZER = "tokenizer.json";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const SOURCE = "source.json";

/** Longer headers are not downloaded: Rust rejects them. */
const HEADER_MOST = 100e6;
const REPORT_EVERY_MS = 100;
/** A download fails after this many interruptions in a row without a byte in between. */
const CUTS_IN_A_ROW = 3;
const AFTER_CUT_MS = 500;

/** Downloads the missing parts of a model, and returns its weight files. Only their headers
 * are downloaded before `check` succeeds. Kept parts are reused: the server is only asked
 * whether the file is unchanged, if it can be reached. */
export async function downloadModel(
  model: string,
  source: ModelSource,
  { shards, check, report, signal }: DownloadOptions,
): Promise<WeightFile[]> {
  const download = await ModelDownload.open(model, origin(model, source), "files" in source ? null : source, signal);
  for (const file of [CONFIG, TOKENIZER]) await download.need(file);
  let names = [WEIGHTS];
  if (download.knows(INDEX) || !(await download.need(WEIGHTS, 8, INDEX))) {
    await download.need(INDEX);
    names = shards(new TextDecoder().decode(await download.read(INDEX)));
  }
  const weights: WeightFile[] = [];
  for (const name of names) {
    await download.need(name, 8);
    const header = await download.read(name, 8);
    const length = header.length < 8 ? 0 : Number(new DataView(header.buffer).getBigUint64(0, true));
    if (length <= HEADER_MOST) await download.need(name, 8 + length);
    weights.push({ name, size: download.size(name) });
  }
  await check(weights);
  await download.checkQuota(weights);
  const whole = sum(weights.map((w) => w.size));
  let before = 0;
  let begun: { time: number; at: number } | undefined;
  let shown = 0;
  for (const { name, size } of weights) {
    await download.need(name, Infinity, undefined, (at) => {
      const now = performance.now();
      begun ??= { time: now, at: before + at };
      if (now - shown < REPORT_EVERY_MS) return;
      shown = now;
      const rate = now > begun.time ? (1000 * (before + at - begun.at)) / (now - begun.time) : 0;
      report({ model, at: before + at, total: whole, rate });
    });
    before += size;
  }
  return weights;
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);

/** The connection was interrupted before the end of the file. */
class Cut extends Error {}

/** The files of one model in the store, and how they are downloaded. */
class ModelDownload {
  #looked = new Set<string>();

  private constructor(
    readonly model: string,
    readonly from: Origin,
    readonly folder: FileSystemDirectoryHandle,
    readonly kept: StoredModel,
    readonly signal: AbortSignal,
  ) {}

  static async open(model: string, from: Origin, source: StoredModel["source"], signal: AbortSignal): Promise<ModelDownload> {
    const models = await store();
    let folder = await models.getDirectoryHandle(model, { create: true });
    let kept = await readKept(folder);
    if (JSON.stringify(kept.source) !== JSON.stringify(source)) {
      await models.removeEntry(model, { recursive: true }); // another model with the same name
      folder = await models.getDirectoryHandle(model, { create: true });
      kept = { source, files: {} };
    }
    return new ModelDownload(model, from, folder, kept, signal);
  }

  knows = (file: string) => file in this.kept.files;

  /** The size of the whole file in bytes. */
  size(file: string): number {
    const size = this.kept.files[file]?.size;
    if (size === undefined) throw new Error(`${this.from.shown(file)}: the server does not report the size of the file.`);
    return size;
  }

  /** Reads the first bytes of a kept file. */
  async read(file: string, to = Infinity): Promise<Uint8Array> {
    return this.#with(file, (handle) => {
      const bytes = new Uint8Array(Math.min(handle.getSize(), to));
      handle.read(bytes, { at: 0 });
      return bytes;
    });
  }

  /** Fails if the browser has no room for the files. */
  async checkQuota(files: WeightFile[]): Promise<void> {
    let missing = 0;
    for (const { name, size } of files) missing += size - (await this.#with(name, (handle) => handle.getSize()));
    const { quota = Infinity, usage = 0 } = await estimate();
    if (missing > quota - usage) throw await this.#full(missing);
  }

  /** Downloads the first bytes of a file. A missing file is an error, unless `other` can replace it. */
  async need(file: string, to = Infinity, other?: string, came?: (at: number) => void): Promise<boolean> {
    if (!this.#looked.has(file)) await this.#look(file);
    this.#looked.add(file);
    const exists = await this.#with(file, (handle) => this.#bring(file, to, handle, came));
    if (exists) return true;
    await this.folder.removeEntry(file);
    if (other) return false;
    const what = file === INDEX ? `found neither ${WEIGHTS} nor ${INDEX}` : "the file does not exist";
    throw new Error(
      `${this.from.shown(file)}: ${what}; check the name, and that the model has config.json, tokenizer.json and safetensors.`,
    );
  }

  /** Forgets the kept part of a file that has changed since. */
  async #look(file: string): Promise<void> {
    const known = this.kept.files[file];
    if (!known) return;
    let answer: FilePart | undefined;
    try {
      answer = await this.from.open(file, { from: 0, to: 1 }, this.signal);
      await answer?.body.cancel();
    } catch (error) {
      if (error instanceof Unreachable) return;
      throw error;
    }
    if (!answer || !same(answer, known)) await this.#note(file, undefined);
  }

  async #bring(
    file: string,
    to: number,
    handle: FileSystemSyncAccessHandle,
    came: ((at: number) => void) | undefined,
  ): Promise<boolean> {
    if (!this.knows(file)) handle.truncate(0);
    const missing = () => handle.getSize() < Math.min(to, this.kept.files[file]?.size ?? Infinity);
    let cuts = 0;
    let begun = false;
    while (missing()) {
      const before = handle.getSize();
      try {
        const answer = await this.#open(file, before, to);
        if (!answer) return false;
        begun = true;
        if (answer.from !== before) handle.truncate(0); // no ranges: the whole file is sent again
        await this.#stream(file, to, handle, answer, came);
      } catch (error) {
        const cut = error instanceof Cut || (begun && error instanceof Unreachable);
        cuts = handle.getSize() > before ? 1 : cuts + 1;
        if (!cut || cuts >= CUTS_IN_A_ROW) throw error;
        await new Promise((later) => setTimeout(later, AFTER_CUT_MS));
        this.signal.throwIfAborted();
      }
    }
    return true;
  }

  /** Opens the rest of a file; another version of it is an error, because its header was not checked. */
  async #open(file: string, at: number, to: number): Promise<FilePart | undefined> {
    const known = this.kept.files[file];
    const part = { from: at, ...(to < Infinity && { to }), ...(known && { tag: known.tag }) };
    const answer = await this.from.open(file, part, this.signal);
    if (!answer) return undefined;
    const { size, tag } = answer;
    if (known && !same(answer, known)) {
      await answer.body.cancel();
      await this.#note(file, undefined);
      throw new Error(`${this.from.shown(file)}: the file changed during the download; download it again.`);
    }
    if (answer.from !== at && answer.from !== 0) {
      await answer.body.cancel();
      throw new Error(`${this.from.shown(file)}: the server sent bytes from ${answer.from}, but ${at} was requested.`);
    }
    if (!known) await this.#note(file, { tag, ...(size !== undefined && { size }) });
    return answer;
  }

  async #stream(
    file: string,
    to: number,
    handle: FileSystemSyncAccessHandle,
    answer: FilePart,
    came: ((at: number) => void) | undefined,
  ): Promise<void> {
    const reader = answer.body.getReader();
    const size = this.kept.files[file]?.size;
    let at = handle.getSize();
    try {
      while (at < to) {
        const part = await reader.read();
        this.signal.throwIfAborted();
        if (part.done) break;
        await this.#write(handle, part.value, at);
        at += part.value.length;
        came?.(at);
      }
    } catch (error) {
      // An interrupted connection or a moved file; our own errors have their own messages.
      if (this.signal.aborted || !(error instanceof TypeError || error instanceof DOMException)) throw error;
      throw new Cut(`${this.from.shown(file)}: interrupted after ${megabytes(at)} MB (${error.message}); ${AGAIN}`);
    } finally {
      await reader.cancel().catch(() => {});
      handle.flush();
    }
    if (size === undefined && at < to) await this.#note(file, { tag: answer.tag, size: at });
    else if (size !== undefined && at > size) {
      await this.#note(file, undefined);
      throw new Error(`${this.from.shown(file)}: found ${at} bytes, but ${size} were announced; download it again.`);
    } else if (at < Math.min(to, size ?? 0))
      throw new Cut(`${this.from.shown(file)}: interrupted after ${megabytes(at)} of ${megabytes(size ?? 0)} MB; ${AGAIN}`);
  }

  async #write(handle: FileSystemSyncAccessHandle, bytes: Uint8Array, at: number): Promise<void> {
    let written = 0;
    try {
      written = handle.write(bytes, { at });
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "QuotaExceededError")) throw error;
    }
    // Chromium returns an error code as if it were a number of bytes.
    if (written !== bytes.length) throw await this.#full(bytes.length);
  }

  async #full(missing: number): Promise<Error> {
    const { usage = 0 } = await estimate();
    const sizes = `${megabytes(missing)} MB more are needed, ${megabytes(usage)} MB are in use`;
    return new Error(`${this.model}: the browser's storage quota for this site is exhausted: ${sizes}; remove models or runs.`);
  }

  async #note(file: string, known: StoredModel["files"][string] | undefined): Promise<void> {
    if (known) this.kept.files[file] = known;
    else delete this.kept.files[file];
    await this.#with(SOURCE, (handle) => {
      handle.truncate(0);
      handle.write(new TextEncoder().encode(JSON.stringify(this.kept)), { at: 0 });
      handle.flush();
    });
  }

  async #with<T>(file: string, work: (handle: FileSystemSyncAccessHandle) => T | Promise<T>): Promise<T> {
    const entry = await this.folder.getFileHandle(file, { create: true });
    const handle = await entry.createSyncAccessHandle();
    try {
      return await work(handle);
    } finally {
      handle.close();
    }
  }
}

const AGAIN = "the downloaded part is kept, get the model again to resume.";

const same = (a: FilePart, b: StoredModel["files"][string]) => a.tag === b.tag && (a.size ?? b.size) === (b.size ?? a.size);

/** The browser's estimate of its storage; WebKitGTK has none. */
const estimate = async (): Promise<StorageEstimate> => (await (navigator.storage as Partial<StorageManager>).estimate?.()) ?? {};

const store = async () => (await navigator.storage.getDirectory()).getDirectoryHandle("models", { create: true });

async function readKept(folder: FileSystemDirectoryHandle): Promise<StoredModel> {
  try {
    const file = await (await folder.getFileHandle(SOURCE)).getFile();
    return JSON.parse(await file.text()) as StoredModel;
  } catch {
    return { source: null, files: {} }; // nothing yet, or an interrupted write
  }
}
