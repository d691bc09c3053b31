// What the page's host offers: models, tasks, and what to begin with (api/index.json).

import { signal } from "@preact/signals";
import type { ModelUrls } from "./sources";

export interface ModelEntry {
  name: string;
  family: string;
  bytes: number;
  files: ModelUrls;
}

export interface TaskEntry {
  name: string;
  title: string;
  files: { train: string; dev?: string; test?: string };
}

export interface Catalogue {
  version: string;
  models: ModelEntry[];
  tasks: TaskEntry[];
  default?: { model?: string | null; task?: string | null };
  /** Devices of the machine that serves the page, where it lets the page start runs (`apet serve --allow-runs`). */
  devices?: string[];
}

/** `null` while it is asked for; a sentence where there is none. */
export const catalogue = signal<Catalogue | string | null>(null);

export const models = (): ModelEntry[] => (typeof catalogue.value === "object" ? (catalogue.value?.models ?? []) : []);
export const tasks = (): TaskEntry[] => (typeof catalogue.value === "object" ? (catalogue.value?.tasks ?? []) : []);

export const devicesThere = (): string[] =>
  typeof catalogue.value === "object" ? (catalogue.value?.devices ?? []) : [];

/** An address of the catalogue: relative ones are relative to the page. */
export const address = (url: string) => new URL(url, document.baseURI).href;

const EMPTY =
  "The store has no model yet. Get one with `apet fetch minilm-l6` and reload the page, or take one from the hub or a folder.";
const NONE =
  "This page was opened without models and tasks (api/index.json is not there): take a model from the hub or a folder, and drop your own data.";

export async function readCatalogue(): Promise<void> {
  try {
    const response = await fetch(address("api/index.json"));
    const found: unknown = response.ok ? await response.json() : undefined;
    catalogue.value = !isCatalogue(found) ? NONE : found.models.length === 0 ? EMPTY : found;
  } catch {
    catalogue.value = NONE;
  }
}

function isCatalogue(x: unknown): x is Catalogue {
  const c = x as Partial<Catalogue> | undefined;
  return Array.isArray(c?.models) && Array.isArray(c.tasks);
}
