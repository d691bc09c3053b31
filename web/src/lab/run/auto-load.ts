// Loads the form's model and counts its trainable parameters whenever the form settles.

import { effect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { offered } from "../../storage/own-models";
import { requested, device, ready, spec } from "../choices";
import { prepare } from "./main-worker";
import { held, plan, problem } from "./state";

const SETTLE_MS = 250;
/** Larger models are downloaded automatically only from this machine. */
const LARGE_BYTES = 32e6;

// A problem of an earlier form no longer applies.
effect(() => {
  void spec.value;
  problem.value = "";
});

/** Loads and counts whenever the form settles. */
export function usePlan() {
  const chosen = spec.value;
  const where = device.value;
  const can = ready.value;
  useEffect(() => {
    if (!can || !where || !loadsAutomatically(chosen.model)) return;
    const timer = setTimeout(() => void prepare(chosen, where), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [chosen, where, can]);
}

function loadsAutomatically(model: string): boolean {
  if (held.peek() === model) return false;
  const here = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  const entry = offered().find((m) => m.name === model);
  if (here || requested.has(model) || entry?.whole || plan.peek()?.model.name === model) return true;
  return (entry?.bytes ?? 0) < LARGE_BYTES;
}

/** Whether the chosen model is downloaded only on request. */
export const waits = () => ready.value && plan.value?.model.name !== spec.value.model && !loadsAutomatically(spec.value.model);

/** Downloads the chosen model, whatever its size. */
export function getModel(): void {
  requested.add(spec.value.model);
  held.value = "";
  if (device.value) void prepare(spec.value, device.value);
}
