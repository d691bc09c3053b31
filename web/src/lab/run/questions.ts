// Calls on the loaded model, other than training.

import type { PeftAdapter } from "../../wasm/protocol";
import { supersede, withModel, worker } from "./main-worker";

/** The prediction of the loaded model with a run's theta, for a text of the loaded task. */
export const ask = (spec: string, theta: Uint8Array, text: string, pair: string | undefined) =>
  worker().session.call("ask", spec, theta, text, pair);

/** Grids of the matrices of the loaded model that a spec trains. */
export const positions = (spec: string, cells: number) => worker().session.call("positions", spec, cells);

/** The trainable parameters of a spec on the loaded model, by block and part. */
export const describe = (spec: string) => worker().session.call("describe", spec);

/** The distance of a run's theta from its initial values, by block and part. */
export const moved = (spec: string, theta: Uint8Array) => worker().session.call("moved", spec, theta);

/** Keeps a theta file that a run can be initialised from; returns the spec of that run, as JSON. */
export const startWith = (name: string, theta: Uint8Array) => worker().session.call("startWith", name, theta);

/** Keeps a peft adapter that a run of a spec can be initialised from; returns the spec of that run, as JSON. */
export const startWithAdapter = (of: string, name: string, config: string, weights: Uint8Array) =>
  withModel(of, (session) => session.call("startWithAdapter", of, name, config, weights));

/** Converts a run's theta to a peft adapter. */
export function adapterOf(of: string, theta: Uint8Array): Promise<PeftAdapter> {
  supersede(); // the run may have another model than the form
  return withModel(of, (session) => session.call("adapter", of, theta));
}
