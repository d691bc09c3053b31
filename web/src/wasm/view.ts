// The wasm of crates/apet-view, as wasm-bindgen exports it: it computes all numbers of Results.

import type {
  AddResult,
  By,
  ClaimResult,
  ClaimResults,
  Cost,
  Curve,
  Estimate,
  Experiment,
  FigureData,
  FigureInfo,
  FigureQuery,
  Filter,
  Group,
  GroupSummary,
  Mean,
  ParetoPoint,
  Placements,
  Row,
  ScoreGroups,
  Spread,
  Threshold,
  Thresholds,
} from "../../../crates/apet-view/src/types";

export type {
  By,
  ClaimResult,
  ClaimResults,
  Cost,
  Curve,
  Estimate,
  Experiment,
  FigureData,
  FigureInfo,
  FigureQuery,
  Group,
  GroupSummary,
  Mean,
  ParetoPoint,
  Row,
  ScoreGroups,
  Spread,
  Threshold,
};

/** The records on the page, and what is computed from them. */
export interface Records {
  add(source: string, text: string): AddResult;
  remove(key: string): boolean;
  rows(): Row[];
  curves(keys: string[], smoothing: number): Curve[];
  scoreAgainstCount(filter: Filter): ScoreGroups;
  answers(runs?: string[]): ClaimResults;
  tradeOffs(filter: Filter, cost: Cost): ParetoPoint[];
  grouped(by: By[], runs: string[]): GroupSummary[];
  thresholds(runs?: string[]): Thresholds[];
  placements(runs?: string[]): Placements;
  figure(id: string, query: FigureQuery): FigureData;
  report(name: string, about: string, runs?: string[]): string;
  record(key: string): string;
  spec(key: string): string;
}

interface ViewModule {
  default(at: { module_or_path: string }): Promise<unknown>;
  Records: new () => Records;
  presets(): Experiment[];
  figures(): FigureInfo[];
}

// Found at build time: without the wasm the page still builds.
const built = Object.values(import.meta.glob<ViewModule>("../../pkg/view/apet_view.js"))[0];

const wasm = Object.values(
  import.meta.glob<string>("../../pkg/view/apet_view_bg.wasm", { query: "?url", import: "default", eager: true }),
)[0];

/** Loads the wasm of Results. */
export async function openRecords(): Promise<{ records: Records; presets: Experiment[] }> {
  if (!built || !wasm) {
    throw new Error(
      "This build of the page cannot read records: its WebAssembly (web/pkg/view) was missing. Build it with `cargo xtask lab`.",
    );
  }
  const module = await built();
  await module.default({ module_or_path: wasm });
  return { records: new module.Records(), presets: module.presets() };
}
