// The measured training speed of this browser's devices, from which a run's time is estimated. Unknown before the first run.

import { signal } from "@preact/signals";

const KEY = "apet-speed";

/** Floating-point operations per second of the last finished run, by device. */
export const speeds = signal<Record<string, number>>(read());

/** Records the speed of a finished run. */
export function learn(device: string, operations: number, seconds: number): void {
  if (!(operations > 0 && seconds > 0.2)) return; // too short to measure
  speeds.value = { ...speeds.value, [device]: operations / seconds };
  try {
    localStorage.setItem(KEY, JSON.stringify(speeds.value));
  } catch {
    // It is lost when the page is closed.
  }
}

function read(): Record<string, number> {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const known = Object.entries(found as Record<string, unknown>).filter(([, s]) => typeof s === "number" && s > 0);
    return Object.fromEntries(known) as Record<string, number>;
  } catch {
    return {};
  }
}
