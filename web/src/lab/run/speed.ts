// The measured training speed of this browser's devices, from which a run's time is estimated. Unknown before the first run.

import { signal } from "@preact/signals";
import { keep, kept } from "../../storage/local";

const KEY = "apet-speed";

/** Floating-point operations per second of the last finished run, by device. */
export const speeds = signal<Record<string, number>>(read());

/** Records the speed of a finished run. */
export function learn(device: string, operations: number, seconds: number): void {
  if (!(operations > 0 && seconds > 0.2)) return; // too short to measure
  speeds.value = { ...speeds.value, [device]: operations / seconds };
  keep(KEY, speeds.value);
}

function read(): Record<string, number> {
  const found = Object.entries((kept(KEY) ?? {}) as Record<string, unknown>);
  return Object.fromEntries(found.filter(([, s]) => typeof s === "number" && s > 0)) as Record<string, number>;
}
