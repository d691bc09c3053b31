// The shapes of crates/apet-record that the page reads and writes. Rust checks and
// hashes a spec; every field left out takes Rust's default.

export interface Spec {
  model: string;
  task: TaskSpec;
  method: Method;
  objective?: Objective;
  head?: { pooling?: "mean" | "first" | "pooler" };
  train: { steps: number; batch_size: number; eval_every: number; patience?: number; checkpoint_every?: number };
  optimizer: { learning_rate: number; schedule?: "linear" | "constant" };
  seeds: { placement: number; batches: number; init: number };
  /** A theta that the run begins with, by its file's hash. */
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

/** How APET's parameters are drawn; a selector's options take Rust's defaults. */
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
  /** `count` is a number, a share ("0.01%"), or a baseline's ("as lora"). */
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
  /** Why fewer are tuned than were asked for. */
  note?: string;
}

export interface TaskInfo {
  name: string;
  /** None where answers are texts. */
  labels: string[];
  /** How answers are scored; accuracy where absent. */
  metric?: string;
  train_rows: number;
  dev_rows: number;
  test_rows: number;
  uniform_guess: number;
  majority_guess: number;
  split_note: string;
}

/** One line of a record, as far as the page shows it. */
export type Line =
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

/** Reads one line; a line the page can not show is nothing. */
export function readLine(text: string): Line | undefined {
  try {
    const line: unknown = JSON.parse(text);
    const known = ["header", "step", "eval", "note", "summary"];
    if (typeof line === "object" && line !== null && "kind" in line && known.includes(String(line.kind))) {
      return line as Line;
    }
  } catch {
    // A line cut in its middle by a kill.
  }
  return undefined;
}
