// The parts of a model as the position map names them, and what is drawn on it.

import { signal } from "@preact/signals";
import type { PositionBlock } from "../../wasm/protocol";

export const TITLES: Record<string, string> = {
  query: "Query",
  key: "Key",
  value: "Value",
  output: "Output",
  ffn_in: "FFN in",
  ffn_gate: "FFN gate",
  ffn_out: "FFN out",
  norm: "Norm",
  bias: "Bias",
  embedding: "Embedding",
  pooler: "Pooler",
  lm_head: "Head of the model",
  after_attention: "After attention",
  after_ffn: "After FFN",
  prompt: "Prompt",
};

export type Block = PositionBlock[0];
export const key = (block: Block, part: string) => `${block}|${part}`;

/** The parts that are drawn as a pool; nothing where none is being drawn. */
export const drawn = signal<ReadonlySet<string> | undefined>(undefined);
/** How far each part moved in the last run, where it is of this form. */
export const lengths = signal<ReadonlyMap<string, number> | undefined>(undefined);
