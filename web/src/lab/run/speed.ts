// How fast a device of this browser has trained: what a run's time is estimated from. Nothing is known before the first run.

import { signal } from "@preact/signals";

const KEY = "apet-speed";

/** Floating point operations a second, by device; as the last run that ended had them. */
export const speeds = signal<Record<string, number>>(read());

export function learn(device: string, operations: number, seconds: number): void {
  if (!(operations > 0 && seconds > 0.2)) return; // too short to say
  speeds.value = { ...speeds.value, [device]: operations / seconds };
  try {
    localStorage.setItem(KEY, JSON.stringify(speeds.value));
  } catch {
    // It is known as long as the page lasts.
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
