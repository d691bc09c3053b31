// The types of crates/apet-record that the page reads and writes. Rust validates and
// hashes a spec; an absent field has Rust's default.

export interface Spec {
  model: string;
  task: TaskSpec;
  method: Method;
  objective?: Objective;
  head?: { pooling?: "mean" | "first" | "pooler" };
  train: { steps: number; batch_size: number; eval_every: number; patience?: number; checkpoint_every?: number };
  optimizer: { learning_rate: number; schedule?: "linear" | "constant" };
  seeds: { placement: number; batches: number; init: number };
  /** The theta that the run is initialised from, by the hash of its file. */
  start?: { theta: string; hash: string };
}

export type Objective = "class_head" | "label_words";

export interface TaskSpec {
  name: string;
  text_column?: string;
  text_pair_column?: string;
  label_column?: string;
  train_rows?: number;
  max_length?: number;
}

export const MODULES = ["attention", "ffn", "norm", "bias", "embedding", "pooler"] as const;
export type Module = (typeof MODULES)[number];

export interface Pool {
  modules: Module[];
  parts?: string[];
  layers?: { first: number; last: number };
  sites?: string;
}

/** How APET's parameters are selected; absent options have Rust's defaults. */
export type Select = { by: Selector; [option: string]: unknown };
export type Selector =
  | "element"
  | "rows"
  | "columns"
  | "diagonal"
  | "magnitude"
  | "gradient"
  | "snip"
  | "unit"
  | "lora_scalar"
  | "mask";

export type Method =
  /** `count` is a number, a share ("0.01%"), or that of a baseline ("as lora"). */
  | { name: "apet"; count: number | string; pool: Pool; select?: Select }
  | { name: "lora"; rank: number; alpha: number; targets: string[] }
  | { name: "prompt"; tokens: number; deviation?: number }
  | { name: "adapter"; bottleneck: number; deviation?: number; after?: string[] }
  | { name: "ia3"; outputs?: string[]; inputs?: string[] }
  | { name: "layer_norm" }
  | { name: "bitfit" }
  | { name: "head" }
  | { name: "full"; pool?: Pool };
export type MethodName = Method["name"];

export interface ModelInfo {
  name: string;
  family: string;
  layers: number;
  hidden: number;
  parameters: number;
  parameters_without_embeddings: number;
}

export interface ThetaInfo {
  method: string;
  requested_parameters: number;
  trainable_parameters: number;
  head: number;
  weights: number;
  candidate_parameters: number;
  /** Why fewer parameters are trained than requested. */
  note?: string;
}

export interface TaskInfo {
  name: string;
  /** Empty if the answers are texts. */
  labels: string[];
  /** The metric of the scores; accuracy if absent. */
  metric?: string;
  train_rows: number;
  dev_rows: number;
  test_rows: number;
  uniform_guess: number;
  majority_guess: number;
  split_note: string;
}

/** One line of a record, with the fields that the page shows. */
export type RecordLine =
  | {
      kind: "header";
      run: string;
      spec: Spec;
      model: ModelInfo;
      theta: ThetaInfo;
      task: TaskInfo;
      device: { name: string; host: string };
    }
  | { kind: "step"; step: number; loss: number; tokens: number; ms: number }
  | { kind: "eval"; step: number; split: string; score: number }
  | { kind: "note"; step: number; text: string }
  | {
      kind: "summary";
      status: string;
      steps: number;
      best_step: number;
      dev?: number;
      test?: number;
      seconds: number;
      message: string;
    };

/** Parses one line; `undefined` if the page cannot show it. */
export function readLine(text: string): RecordLine | undefined {
  try {
    const line: unknown = JSON.parse(text);
    const known = ["header", "step", "eval", "note", "summary"];
    if (typeof line === "object" && line !== null && "kind" in line && known.includes(String(line.kind))) {
      return line as RecordLine;
    }
  } catch {
    // A line truncated when the process was killed.
  }
  return undefined;
}
