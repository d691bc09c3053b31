// Loads the form's model and counts what it would tune, whenever the form comes to rest.

import { effect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { offered } from "../../storage/own-models";
import { asked, device, ready, spec } from "../choices";
import { prepare } from "./main-worker";
import { held, plan, problem } from "./state";

const SETTLE_MS = 250;
/** A model this large is fetched without being asked for only from this machine. */
const LARGE_BYTES = 32e6;

// What was said of another form is no longer so.
effect(() => {
  void spec.value;
  problem.value = "";
});

/** Loads and counts whenever the form comes to rest. */
export function usePlan() {
  const chosen = spec.value;
  const where = device.value;
  const can = ready.value;
  useEffect(() => {
    if (!can || !where || !comesUnasked(chosen.model)) return;
    const timer = setTimeout(() => void prepare(chosen, where), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [chosen, where, can]);
}

function comesUnasked(model: string): boolean {
  if (held.peek() === model) return false;
  const here = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  const entry = offered().find((m) => m.name === model);
  if (here || asked.has(model) || entry?.whole || plan.peek()?.model.name === model) return true;
  return (entry?.bytes ?? 0) < LARGE_BYTES;
}

/** Whether the chosen model is fetched only when it is asked for. */
export const waits = () => ready.value && plan.value?.model.name !== spec.value.model && !comesUnasked(spec.value.model);

/** Fetches the chosen model, whatever its size. */
export function getModel(): void {
  asked.add(spec.value.model);
  held.value = "";
  if (device.value) void prepare(spec.value, device.value);
}
