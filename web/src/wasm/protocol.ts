// The messages between the page and its Worker, and the interface of the Lab's wasm.

import type { ModelInfo, TaskInfo, ThetaInfo } from "../spec";
import type { ModelSource, SplitSources, Transfer, WeightFile } from "../storage/sources";

export type DeviceName = "webgpu" | "cpu";

export interface WebgpuStatus {
  available: boolean;
  /** The adapter runs on the processor. */
  software: boolean;
  adapter: string;
  /** Why WebGPU is unavailable; empty if it is available. */
  reason: string;
}

/** What the Worker found in this browser. */
export interface Surroundings extends WebgpuStatus {
  /** Whether models, runs and thetas outlast the page. */
  keepsFiles: boolean;
}

export interface Device {
  name: string;
  adapter: string;
  host: string;
}

/** A line of the record as text, a progress message, or the time spent by the last steps. */
export type RunEvent = { line: string } | { progress: string } | { spent: StepTimings };

/** Milliseconds of the steps since the last report, by phase. */
export interface StepTimings {
  forward: number;
  backward: number;
  update: number;
  read_back: number;
  helpers: number;
}

/** The files that peft saves of an adapter; `head` is a classification head that no class of transformers has. */
export interface PeftAdapter {
  config: string;
  weights: Uint8Array<ArrayBuffer>;
  head?: Uint8Array<ArrayBuffer>;
  note: string;
}

/** The wasm of crates/apet-web, as wasm-bindgen exports it. */
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
  ask(spec: string, theta: Uint8Array, text: string, pair?: string): Promise<Prediction>;
  loadTask(taskSpec: string, seed: number, files: SplitBytes): TaskInfo;
  describe(spec: string): ThetaInfo;
  plan(spec: string): RunCost;
  startWithAdapter(spec: string, name: string, config: string, weights: Uint8Array): Promise<string>;
  toPeft(spec: string, theta: Uint8Array): Promise<PeftAdapter>;
  moved(spec: string, theta: Uint8Array): Promise<[block: number | null, part: string, length: number][]>;
  positions(spec: string, cells: number): { blocks: PositionBlock[]; grids: PositionGrid[] };
  recordName(spec: string): string;
  check(): Promise<Check[]>;
  run(
    spec: string,
    onEvent: (event: RunEvent) => void,
    reason: string | undefined,
    helpers: GradientWorker[],
  ): Promise<void>;
  /** `next` takes the last gradient and returns the next request, or `undefined` at the end. */
  assist(spec: string, next: (answer?: ShardGradient) => Promise<GradientRequest | undefined>): Promise<void>;
  pause(): void;
  resume(): void;
  stop(): void;
}

/** The probability of each class, in the order of the task's labels; or the generated text. */
export type Prediction = { classes: number[] } | { text: string };

/** Shards of a step's batch, and the values of theta at which their gradient is requested. */
export interface GradientRequest {
  values: Float32Array<ArrayBuffer>;
  shards: unknown;
}
/** Theta's gradient and the loss over the requested shards. */
export interface ShardGradient {
  gradient: Float32Array<ArrayBuffer>;
  loss: number;
}
/** Another Worker, which computes a part of a gradient in parallel. */
export type GradientWorker = (values: GradientRequest["values"], shards: unknown) => Promise<ShardGradient>;

/** A part of a block (`null` outside of blocks): its trainable parameters, and all its parameters. */
export type PositionBlock = [block: number | null, part: string, tuned: number, all: number];

/** Trainable scalars of a matrix on a coarser grid, row by row; a vector is a matrix with one row. */
export interface PositionGrid {
  site: string;
  block: number | null;
  part: string;
  shape: [rows: number, columns: number];
  cells: [rows: number, columns: number];
  counts: number[];
}

/** The estimated cost of a run: peak memory in bytes, floating-point operations. */
export interface RunCost {
  peak: number;
  operations: number;
}

/** An operation or gradient, compared with double precision. */
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

/** The arguments and the result of each call. */
export interface Calls {
  status: { args: []; value: Surroundings };
  open: { args: [device: DeviceName]; value: Device };
  model: { args: [name: string, source: ModelSource]; value: ModelInfo & { weights: WeightFile[] } };
  /** Loads a model that another Worker has downloaded into the store. */
  kept: { args: [name: string, weights: WeightFile[]]; value: ModelInfo };
  /** Cancels a download; the downloaded part is kept. */
  cancel: { args: []; value: void };
  tokenize: { args: [texts: string[]]; value: number[][] };
  generate: { args: [prompts: number[][], most: number]; value: number[][] };
  /** The prediction of the loaded model with a theta, for a text of the loaded task. */
  ask: { args: [spec: string, theta: Uint8Array, text: string, pair: string | undefined]; value: Prediction };
  task: { args: [taskSpec: string, seed: number, files: SplitSources]; value: TaskInfo };
  describe: { args: [spec: string]; value: ThetaInfo & { name: string; blocks: PositionBlock[]; takes: RunCost } };
  positions: { args: [spec: string, cells: number]; value: { grids: PositionGrid[] } };
  /** The distance of a run's theta from its initial values, by block and part. */
  moved: { args: [spec: string, theta: Uint8Array]; value: [block: number | null, part: string, length: number][] };
  /** Keeps a theta file that a run can be initialised from; returns the spec of that run. */
  startWith: { args: [name: string, theta: Uint8Array]; value: string };
  startWithAdapter: { args: [spec: string, name: string, config: string, weights: Uint8Array]; value: string };
  /** Converts a run's theta to an adapter of Hugging Face peft. */
  adapter: { args: [spec: string, theta: Uint8Array]; value: PeftAdapter };
  check: { args: []; value: Check[] };
  /** `helpers` are ports to Workers that compute parts of the gradients. */
  run: { args: [spec: string, reason: string | undefined, helpers: MessagePort[]]; value: void };
  /** Computes gradients for the run at the other end of `port`, until that run ends. */
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

/** `fault`: the Worker cannot continue and must be replaced. */
export type Reply =
  | { id: number; value: unknown }
  | { id: number; error: string; fault: boolean }
  | { event: RunEvent }
  | { download: string }
  | { transfer: Transfer }
  | { fault: string }
  | { ready: true };
