// What the page and its Worker say to each other, and what the Lab's wasm offers.

import type { ModelInfo, TaskInfo, ThetaInfo } from "../spec";
import type { ModelSource, SplitSources, Transfer, WeightFile } from "../storage/sources";

export type DeviceName = "webgpu" | "cpu";

export interface WebgpuStatus {
  available: boolean;
  /** The adapter computes on the processor. */
  software: boolean;
  adapter: string;
  /** Why there is none; empty where there is one. */
  reason: string;
}

/** What the Worker has here. */
export interface Surroundings extends WebgpuStatus {
  /** Models, runs and thetas outlast the page. */
  keepsFiles: boolean;
}

export interface Device {
  name: string;
  adapter: string;
  host: string;
}

/** A line of the record as text, a word on what takes time, or where steps spend it. */
export type RunEvent = { line: string } | { progress: string } | { spent: Spent };

/** Milliseconds of the steps since the last word, by what was done in them. */
export interface Spent {
  forward: number;
  backward: number;
  update: number;
  read_back: number;
  helpers: number;
}

/** What peft saves of an adapter; `head` is one that no class of transformers has. */
export interface Adapter {
  config: string;
  weights: Uint8Array<ArrayBuffer>;
  head?: Uint8Array<ArrayBuffer>;
  note: string;
}

/** The wasm of crates/apet-web, as wasm-bindgen writes it. */
export interface LabModule {
  default(at: { module_or_path: string }): Promise<unknown>;
  webgpuStatus(): Promise<WebgpuStatus>;
  startWith(name: string, theta: Uint8Array): Promise<string>;
  Lab: { open(device: DeviceName): Promise<Lab> };
}

export interface Lab {
  readonly device: Device;
  shardsOf(name: string, index: string): string[];
  checkModel(name: string, weights: WeightFile[]): Promise<void>;
  loadModel(name: string, weights: WeightFile[]): Promise<ModelInfo>;
  tokenize(texts: string[]): number[][];
  generate(prompts: number[][], most: number): Promise<number[][]>;
  ask(spec: string, theta: Uint8Array, text: string, pair?: string): Promise<Asking>;
  loadTask(taskSpec: string, seed: number, files: SplitBytes): TaskInfo;
  describe(spec: string): ThetaInfo;
  plan(spec: string): Planned;
  startWithAdapter(spec: string, name: string, config: string, weights: Uint8Array): Promise<string>;
  toPeft(spec: string, theta: Uint8Array): Promise<Adapter>;
  moved(spec: string, theta: Uint8Array): Promise<[block: number | null, part: string, length: number][]>;
  positions(spec: string, cells: number): { blocks: PositionBlock[]; grids: PositionGrid[] };
  recordName(spec: string): string;
  check(): Promise<Check[]>;
  run(
    spec: string,
    onEvent: (event: RunEvent) => void,
    reason: string | undefined,
    helpers: Helper[],
  ): Promise<void>;
  /** `next` takes the last answer to what is asked then, or to nothing at the end. */
  assist(spec: string, next: (answer?: Answer) => Promise<Asked | undefined>): Promise<void>;
  pause(): void;
  resume(): void;
  stop(): void;
}

/** How likely each class is, in the order of the task's labels; or what is written. */
export type Asking = { classes: number[] } | { text: string };

/** Some of a step's rows with their weights, and theta's values: whose gradient is asked for. */
export interface Asked {
  values: Float32Array<ArrayBuffer>;
  shares: unknown;
}
/** Theta's gradient and the loss, over shares. */
export interface Answer {
  gradient: Float32Array<ArrayBuffer>;
  loss: number;
}
/** Another Worker that makes a part of a gradient at the same time. */
export type Helper = (values: Asked["values"], shares: unknown) => Promise<Answer>;

/** A part of a block (or of none): tuned parameters, and parameters that there are. */
export type PositionBlock = [block: number | null, part: string, tuned: number, all: number];

/** Tuned scalars of a matrix on a coarser grid, row by row; a vector is a matrix of one row. */
export interface PositionGrid {
  site: string;
  block: number | null;
  part: string;
  shape: [rows: number, columns: number];
  cells: [rows: number, columns: number];
  counts: number[];
}

/** What a run would take: bytes held at once, floating point operations. */
export interface Planned {
  peak: number;
  operations: number;
}

/** One operation or gradient, compared with double precision. */
export interface Check {
  name: string;
  error: number;
  tolerance: number;
  passes: boolean;
}

interface FileBytes {
  name: string;
  bytes: Uint8Array;
}
export type SplitBytes = { train: FileBytes; dev?: FileBytes; test?: FileBytes };

/** Each call's argument and answer. */
export interface Calls {
  status: { args: []; value: Surroundings };
  open: { args: [device: DeviceName]; value: Device };
  model: { args: [name: string, source: ModelSource]; value: ModelInfo & { weights: WeightFile[] } };
  /** Loads a model that another Worker has brought into the store. */
  kept: { args: [name: string, weights: WeightFile[]]; value: ModelInfo };
  /** Ends a download; what has come is kept. */
  cancel: { args: []; value: void };
  tokenize: { args: [texts: string[]]; value: number[][] };
  generate: { args: [prompts: number[][], most: number]; value: number[][] };
  /** What the loaded model with a theta answers to a text where the loaded task asks. */
  ask: { args: [spec: string, theta: Uint8Array, text: string, pair: string | undefined]; value: Asking };
  task: { args: [taskSpec: string, seed: number, files: SplitSources]; value: TaskInfo };
  describe: { args: [spec: string]; value: ThetaInfo & { name: string; blocks: PositionBlock[]; takes: Planned } };
  positions: { args: [spec: string, cells: number]; value: { grids: PositionGrid[] } };
  /** How far a run's theta is from what it began with, by block and part. */
  moved: { args: [spec: string, theta: Uint8Array]; value: [block: number | null, part: string, length: number][] };
  /** Keeps a theta file for a run to begin with; the spec of that run. */
  startWith: { args: [name: string, theta: Uint8Array]; value: string };
  startWithAdapter: { args: [spec: string, name: string, config: string, weights: Uint8Array]; value: string };
  /** A run's theta as an adapter of Hugging Face peft. */
  adapter: { args: [spec: string, theta: Uint8Array]; value: Adapter };
  check: { args: []; value: Check[] };
  /** `helpers` lead to Workers that assist. */
  run: { args: [spec: string, reason: string | undefined, helpers: MessagePort[]]; value: void };
  /** Helps the run at the other end of `port`, until that ends. */
  assist: { args: [spec: string, port: MessagePort]; value: void };
  pause: { args: []; value: void };
  resume: { args: []; value: void };
  stop: { args: []; value: void };
}
export type CallName = keyof Calls;

export interface Request {
  id: number;
  call: CallName;
  args: unknown[];
}

/** `fault`: the Worker can not go on and must be replaced. */
export type Reply =
  | { id: number; value: unknown }
  | { id: number; error: string; fault: boolean }
  | { event: RunEvent }
  | { download: string }
  | { transfer: Transfer }
  | { fault: string }
  | { ready: true };
