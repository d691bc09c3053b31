// The runs that are selected for plotting, and the run whose page is open.

import { signal } from "@preact/signals";

/** The selected runs with their colours. */
export const selected = signal<ReadonlyMap<string, number>>(new Map());
/** The run whose page is open. */
export const opened = signal<string | undefined>(undefined);

/** Colours for plotted runs; more are hard to distinguish. */
export const COLOURS = 8;

/** Selects a run, if a colour is free, or deselects it. A run keeps its colour while it is selected. */
export function toggle(key: string): void {
  const next = new Map(selected.value);
  if (!next.delete(key)) {
    const used = new Set(next.values());
    const free = Array.from({ length: COLOURS }, (_, i) => i).find((i) => !used.has(i));
    if (free === undefined) return;
    next.set(key, free);
  }
  selected.value = next;
}
