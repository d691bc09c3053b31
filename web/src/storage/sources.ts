// Where the files of models and tasks come from, and what the store records about a model's files.

/** A file of a split: at an address, or from the user. */
export type Source = { name: string; url: string } | { name: string; file: Blob };
export type SplitSources = { train: Source; dev?: Source; test?: Source };

/** Addresses of a model's files; an index and its shards are in the folder of `weights`. */
export interface ModelUrls {
  config: string;
  tokenizer: string;
  weights: string;
}

/** Where a model comes from: a server or the user (no files if only kept files are left). */
export type ModelSource = ModelUrls | { files: File[] };

/** A weight file in the store, and its size in bytes when complete. */
export interface WeightFile {
  name: string;
  size: number;
}

/** The store's record of a model: models/NAME/source.json. */
export interface StoredModel {
  /** `null` for the user's files. */
  source: ModelUrls | null;
  /** By name; `size` is absent while it is unknown. */
  files: Record<string, { size?: number; tag: string }>;
}

/** The progress of a download of a model's weights: bytes, and bytes per second. */
export interface Transfer {
  model: string;
  at: number;
  total: number;
  rate: number;
}
