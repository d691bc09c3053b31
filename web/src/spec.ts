// The types of crates/apet-record that the page reads and writes. Rust validates and
// hashes a spec; an absent field has Rust's default.

import type { Method as AnyMethod, Module as AnyModule, Optimizer, Pool as AnyPool, RunSpec, Seeds, Train } from "./generated/spec";

export type { TaskSpec } from "./generated/spec";

/** A type whose fields `K` are present. */
type With<T, K extends keyof T> = T & { [P in K]-?: NonNullable<T[P]> };
type Variant<Name extends AnyMethod["name"]> = Extract<AnyMethod, { name: Name }>;

/** A spec as the form holds it: the fields that the form shows are present. */
export type Spec = Omit<RunSpec, "method" | "train" | "optimizer" | "seeds"> & {
  method: Method;
  train: With<Train, "steps" | "batch_size" | "eval_every">;
  optimizer: With<Optimizer, "learning_rate">;
  seeds: Required<Seeds>;
};

export type Objective = NonNullable<RunSpec["objective"]>;
export type Pooling = NonNullable<NonNullable<RunSpec["head"]>["pooling"]>;
export type Schedule = NonNullable<Optimizer["schedule"]>;

/** The kinds of modules that the form offers. */
export const MODULES = ["attention", "ffn", "norm", "bias", "embedding", "pooler"] as const satisfies readonly AnyModule[];
export type Module = (typeof MODULES)[number];
export type Pool = With<AnyPool, "modules">;

/** How APET's parameters are selected; absent options have Rust's defaults. */
export type Select = NonNullable<Variant<"apet">["select"]>;
export type Selector = Select["by"];

/** The methods of the form; `combined` and results of other programs have no place in it. */
export type Method =
  | (With<Variant<"apet">, "pool"> & { pool: Pool })
  | Exclude<AnyMethod, { name: "apet" | "combined" | "foreign" }>;
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
