// The titles of a model's parts, and the state of the position map.

import { signal } from "@preact/signals";
import type { PositionBlock } from "../../wasm/protocol";

/** The title of each part. */
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
  lm_head: "LM head",
  after_attention: "After attention",
  after_ffn: "After FFN",
  prompt: "Prompt",
};

/** The number of a block; `null` outside of blocks. */
export type Block = PositionBlock[0];
/** The key of a part of a block. */
export const key = (block: Block, part: string) => `${block}|${part}`;

/** The parts chosen as candidates; `undefined` if the user is not choosing. */
export const drawn = signal<ReadonlySet<string> | undefined>(undefined);
/** How far each part moved in the last run, if that run matches the form. */
export const lengths = signal<ReadonlyMap<string, number> | undefined>(undefined);
