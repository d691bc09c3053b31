// The models, tasks and defaults that the page's host offers (api/index.json).

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
  /** Devices of the serving machine, if it lets the page start runs (`apet serve --allow-runs`). */
  devices?: string[];
}

/** `null` while it is loading; an error message if there is none. */
export const catalogue = signal<Catalogue | string | null>(null);

export const models = (): ModelEntry[] => (typeof catalogue.value === "object" ? (catalogue.value?.models ?? []) : []);
export const tasks = (): TaskEntry[] => (typeof catalogue.value === "object" ? (catalogue.value?.tasks ?? []) : []);

export const serverDevices = (): string[] =>
  typeof catalogue.value === "object" ? (catalogue.value?.devices ?? []) : [];

/** Resolves an address of the catalogue, relative to the page. */
export const address = (url: string) => new URL(url, document.baseURI).href;

const EMPTY =
  "The store has no model yet. Download one with `apet fetch minilm-l6` and reload the page, or add one from the hub or a folder.";
const NONE =
  "This page came without models and tasks (api/index.json is missing): add a model from the hub or a folder, and drop your own data on the page.";

/** Loads the catalogue of the page's host. */
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
