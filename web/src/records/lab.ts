// What the Lab lets Results do with a run. A report has no Lab: then there is nothing to do it with.

import { signal } from "@preact/signals";
import type { Adapter } from "../wasm/protocol";
import type { Row } from "../wasm/view";

export interface LabActions {
  /** Nothing can be begun just now. */
  isBusy(): boolean;
  /** The run is the one that trains. */
  isOnScreen(row: Row): boolean;
  /** The run was interrupted in this tab. */
  canGoOn(row: Row): boolean;
  goOn(row: Row): void;
  /** Puts a run that goes on from what this one tuned into the Lab's form. */
  startFrom(name: string, theta: Uint8Array): Promise<void>;
  /** What a run tuned as an adapter of peft. */
  adapter(spec: string, theta: Uint8Array): Promise<Adapter>;
  /** Puts a run's spec, as JSON, into the Lab's form. */
  use(row: Row, spec: string): void;
}

export const lab = signal<LabActions | undefined>(undefined);
