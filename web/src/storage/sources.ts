// Where the files of models and tasks come from, and what the store knows of a model's files.

/** A file of a split: at an address, or the user's own. */
export type Source = { name: string; url: string } | { name: string; file: Blob };
export type SplitSources = { train: Source; dev?: Source; test?: Source };

/** Addresses of a model's files; of shards, the index and all of them are beside `weights`. */
export interface ModelUrls {
  config: string;
  tokenizer: string;
  weights: string;
}

/** Where a model comes from: a server, or the user (no files where only what is kept is left). */
export type ModelSource = ModelUrls | { files: File[] };

/** A file of weights in the store, and its bytes once it is whole. */
export interface WeightFile {
  name: string;
  size: number;
}

/** What the store knows of a model: models/NAME/source.json. */
export interface Kept {
  /** `null` for the user's own files. */
  source: ModelUrls | null;
  /** By name; `size` is absent as long as it is not known. */
  files: Record<string, { size?: number; tag: string }>;
}

/** How far a model's weights have come: bytes, and bytes a second. */
export interface Transfer {
  model: string;
  at: number;
  total: number;
  rate: number;
}
