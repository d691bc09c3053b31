// What the loaded model is asked, apart from training.

import type { Adapter } from "../../wasm/protocol";
import { supersede, withModel, worker } from "./main-worker";

/** What the loaded model with a run's theta answers to a text where the loaded task asks. */
export const ask = (spec: string, theta: Uint8Array, text: string, pair: string | undefined) =>
  worker().session.call("ask", spec, theta, text, pair);

/** Grids of the matrices that a spec tunes on the loaded model. */
export const positions = (spec: string, cells: number) => worker().session.call("positions", spec, cells);

/** What a spec would tune on the loaded model, by block and part. */
export const describe = (spec: string) => worker().session.call("describe", spec);

/** How far a run's theta is from what it began with, by block and part. */
export const moved = (spec: string, theta: Uint8Array) => worker().session.call("moved", spec, theta);

/** Keeps a theta file for a run to begin with; the spec of that run, as JSON. */
export const startWith = (name: string, theta: Uint8Array) => worker().session.call("startWith", name, theta);

/** Keeps an adapter of peft for a run of a spec to begin with; the spec of that run, as JSON. */
export const startWithAdapter = (of: string, name: string, config: string, weights: Uint8Array) =>
  withModel(of, (session) => session.call("startWithAdapter", of, name, config, weights));

/** A run's theta as an adapter of peft. */
export function adapterOf(of: string, theta: Uint8Array): Promise<Adapter> {
  supersede(); // the run's model may be another than the form's, which is not waited for
  return withModel(of, (session) => session.call("adapter", of, theta));
}
