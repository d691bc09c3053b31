export interface AddResult {
  added: number;
  replaced: number;
  unchanged: number;
}

export interface Row {
  /** Run id, "@", host, ":", device. */
  key: string;
  run: string;
  source: string;
  name: string;
  model: string;
  parameters: number;
  task: string;
  method: string;
  count: number;
  requested_parameters: number;
  /** The seed, or "placement/batches/init" where they differ. */
  seeds: string;
  status: "done" | "stopped" | "diverged" | "unfinished";
  message: string;
  steps: number;
  planned: number;
  dev: number | null;
  test: number | null;
  best_step: number | null;
  device: string;
  adapter: string;
  host: "native" | "browser" | string;
  started: string;
  seconds: number | null;
  learning_rate: number;
  /** Steps until dev had come 90 % of the way from the guess to its best. */
  steps_to_90: number | null;
  peak_bytes: number | null;
  /** The run id is not the hash of the spec: the record was edited. */
  edited: boolean;
}

export interface Point {
  step: number;
  value: number;
}

export interface Curve {
  key: string;
  run: string;
  name: string;
  /** Training loss, nats. */
  points: Point[];
  /** Dev accuracy, 0 to 1. */
  dev: Point[];
}

export interface Filter {
  task?: string;
  model?: string;
  split?: "dev" | "test";
  /** Records by key. */
  runs?: string[];
}

/** Runs that differ in nothing but their seeds. */
export interface Group {
  model: string;
  parameters: number;
  task: string;
  /** What the score is. */
  metric: string;
  method: string;
  count: number;
  /** Two groups with the same model, task, method and count differ in it. */
  setting: string;
  mean: number;
  /** Standard deviation over runs; null of a single run. */
  deviation: number | null;
  /** Ends of the 95 % interval of the mean; null of a single run. */
  low: number | null;
  high: number | null;
  n: number;
  runs: string[];
}

export interface ScoreGroups {
  task: string | null;
  split: "dev" | "test";
  /** What the score is, where it is the same for all runs shown. */
  metric: string | null;
  groups: Group[];
  full: Group[];
  uniform_guess: number | null;
  majority_guess: number | null;
  left_out: number;
  left_out_runs: string[];
}

/** A figure of the registry. */
export interface FigureInfo {
  /** Its name in addresses and in calls. */
  id: string;
  title: string;
  /** The question it answers. */
  question: string;
  kind: "scatter" | "lines" | "bars";
  /** "task": a drawing is of one task; "study": of all runs. */
  scope: "task" | "study";
  /** Fields of the query that it depends on, besides runs. */
  options: ("task" | "model" | "split" | "cost" | "smoothing")[];
  in_report: boolean;
}

/** Which runs a figure is of, and its settings. */
export interface FigureQuery extends Filter {
  cost?: Cost;
  /** Weight of the smoothing of losses, 0 to 0.999. */
  smoothing?: number;
}

export interface Axis {
  label: string;
  /** On "log" 0 stands left of all others; on "category" x is the number of the category. */
  scale: "linear" | "log" | "category";
  unit: "parameters" | "score" | "points" | "seconds" | "bytes" | "steps" | "nats" | "factor" | "distance" | "none";
}

export interface FigurePoint {
  x: number;
  y: number;
  /** Ends of the 95 % interval of y. */
  low: number | null;
  high: number | null;
  /** Ends of the 95 % interval of x. */
  x_low: number | null;
  x_high: number | null;
  /** It is on the Pareto front. */
  marked: boolean;
  /** A sentence about the point. */
  label: string;
  /** Keys of its records. */
  runs: string[];
}

export interface Series {
  name: string;
  /** What its colour stands for: a model or a task. */
  colour: string;
  /** What its symbol stands for; "" where there is one symbol. */
  symbol: string;
  /** The panel it is in; "" where there is one panel. */
  panel: string;
  /** Its points are connected. */
  joined: boolean;
  points: FigurePoint[];
}

/** A horizontal line that points are compared with. */
export interface Reference {
  value: number;
  label: string;
  /** As that of a series; "" where it belongs to no model. */
  colour: string;
}

export interface FigureData {
  id: string;
  title: string;
  question: string;
  kind: FigureInfo["kind"];
  x: Axis;
  y: Axis;
  /** Empty where the runs say nothing. */
  series: Series[];
  references: Reference[];
  /** How to read it, and what was found. */
  note: string;
  /** Keys of runs that match the query and are not drawn. */
  left_out: string[];
  /** The same as Markdown. */
  text: string;
}

/** A mean over runs; no interval of a single one. */
export interface Mean {
  mean: number;
  low: number | null;
  high: number | null;
}

export type Cost = "parameters" | "seconds" | "memory" | "steps";

/** Runs that differ in nothing but their seeds, with what they cost. */
export interface ParetoPoint extends Group {
  cost: Mean;
  /** Nothing of its task scores as much for less. */
  front: boolean;
}

export type By =
  | "model"
  | "task"
  | "method"
  | "count"
  | "seeds"
  | "learning_rate"
  | "status"
  | "device"
  | "source";

/** Runs with the same values of some fields. */
export interface GroupSummary {
  values: (number | string)[];
  n: number;
  /** Those that ended as planned; the means are theirs. */
  done: number;
  dev: Mean | null;
  test: Mean | null;
  seconds: Mean | null;
  runs: string[];
}

/** The count at which a logistic curve through the scores comes to a level. */
export interface Threshold {
  count: number;
  /** Ends of its 95 % interval; null where it goes on without end. */
  low: number | null;
  high: number | null;
  curve: { low: number; high: number; slope: number; theta: number; squares: number };
}

/** From which counts APET is above its reference, and as good as full fine-tuning. */
export interface Thresholds {
  model: string;
  task: string;
  low_tried: number | null;
  low: Threshold | null;
  high_tried: number | null;
  high: Threshold | null;
}

/** The standard deviation of scores across placements, 0 to 1. */
export interface Spread {
  model: string;
  parameters: number;
  cells: number;
  placements: number;
  seeds: number;
  spread: number;
  low: number;
  high: number;
  rest: number;
}

/** By how much the spread changes where a model has ten times as many parameters. */
export interface Trend {
  slope: number;
  low: number;
  high: number;
  p: number;
}

export interface Placements {
  /** From the smallest model to the largest. */
  models: Spread[];
  trend: Trend | null;
}

/** A figure with its 95 % interval. */
export interface Estimate {
  /** Of what: a model. */
  of: string;
  /** Where the study can tell it. */
  value: number | null;
  low: number | null;
  /** null where it is beyond what was tried. */
  high: number | null;
  /** A remark about its data. */
  note: string;
}

/** A claim of the paper, and what the runs say of it. */
export interface ClaimResult {
  number: number;
  claim: string;
  measure: string;
  unit: string;
  /** From the smallest model to the largest. */
  figures: Estimate[];
  verdict: "supported" | "not_supported" | "undecided";
  reason: string;
}

/** What runs say of the paper's four claims. */
export interface ClaimResults {
  /** Runs with a score. */
  runs: number;
  /** Runs without one. */
  left_out: number;
  claims: ClaimResult[];
}

/** A run that is to be made. */
export interface Planned {
  /** Its id. */
  run: string;
  /** Its spec as JSON text. */
  spec: string;
}

/** A grid of runs, in the order in which they are best made. */
export interface Experiment {
  name: string;
  about: string;
  runs: Planned[];
}
