// The Lab's actions on a run, for Results. A report has no Lab, and so no actions.

import { signal } from "@preact/signals";
import type { PeftAdapter } from "../wasm/protocol";
import type { Row } from "../wasm/view";

/** What the Lab can do with a run. */
export interface LabActions {
  /** Whether no run can be started now. */
  isBusy(): boolean;
  /** Whether this run is on the Lab's screen. */
  isOnScreen(row: Row): boolean;
  /** Whether the run was interrupted or stopped in this tab. */
  canResume(row: Row): boolean;
  resume(row: Row): void;
  /** Fills the Lab's form for a run that is initialised from a theta. */
  initialiseFrom(name: string, theta: Uint8Array): Promise<void>;
  /** Converts a run's theta to a peft adapter. */
  adapter(spec: string, theta: Uint8Array): Promise<PeftAdapter>;
  /** Fills the Lab's form with a run's spec, as JSON. */
  use(row: Row, spec: string): void;
}

/** The Lab, if the page has one. */
export const lab = signal<LabActions | undefined>(undefined);
