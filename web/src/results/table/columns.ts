// The columns of the runs table, which are also the fields of its filter.

import { compact, count, duration, megabytes, methodTitle, score, when } from "../../format";
import type { Field } from "./filter";
import type { By } from "../../wasm/view";

export interface Column extends Field {
  title: string;
  /** Shown by default. */
  plain?: boolean;
  /** The field of apet-study by which runs can be grouped. */
  by?: By;
}

export const COLUMNS: Column[] = [
  { id: "run", title: "Run", plain: true, value: (r) => r.run, show: (r) => r.run.slice(0, 8) },
  { id: "method", title: "Method", plain: true, by: "method", value: (r) => r.method, show: (r) => methodTitle(r.method) },
  { id: "tuned", title: "Trained", plain: true, by: "count", value: (r) => r.count, show: (r) => count(r.count), numeric: true },
  { id: "dev", title: "Dev", plain: true, value: (r) => r.dev, show: (r) => score(r.dev), numeric: true },
  { id: "test", title: "Test", plain: true, value: (r) => r.test, show: (r) => score(r.test), numeric: true },
  { id: "model", title: "Model", plain: true, by: "model", value: (r) => r.model, show: (r) => r.model },
  { id: "parameters", title: "Parameters", plain: true, value: (r) => r.parameters, show: (r) => compact(r.parameters), numeric: true },
  { id: "task", title: "Task", plain: true, by: "task", value: (r) => r.task, show: (r) => r.task },
  { id: "seed", title: "Seed", plain: true, by: "seeds", value: (r) => (/^\d+$/.test(r.seeds) ? Number(r.seeds) : r.seeds), show: (r) => r.seeds, numeric: true },
  { id: "rate", title: "Rate", by: "learning_rate", value: (r) => r.learning_rate, show: (r) => String(r.learning_rate), numeric: true },
  { id: "status", title: "Status", plain: true, by: "status", value: (r) => r.status, show: (r) => r.status },
  { id: "steps", title: "Steps", plain: true, value: (r) => r.steps, show: (r) => count(r.steps), numeric: true },
  { id: "steps90", title: "Steps to 90 %", value: (r) => r.steps_to_90, show: (r) => (r.steps_to_90 === null ? "–" : count(r.steps_to_90)), numeric: true },
  { id: "time", title: "Time", plain: true, value: (r) => r.seconds, show: (r) => duration(r.seconds), numeric: true },
  { id: "memory", title: "Memory", value: (r) => r.peak_bytes, show: (r) => (r.peak_bytes === null ? "–" : `${megabytes(r.peak_bytes)} MB`), numeric: true },
  { id: "where", title: "Ran on", plain: true, by: "device", value: (r) => `${r.host} ${r.device}`, show: (r) => `${r.host} ${r.device}` },
  { id: "from", title: "From", plain: true, by: "source", value: (r) => r.source, show: (r) => (r.source === "tab" ? "this tab" : r.source) },
  { id: "started", title: "Started", plain: true, value: (r) => r.started, show: (r) => when(r.started) },
];

/** The filter field that finds the runs of a group. */
export const fieldOf = (by: By) => COLUMNS.find((c) => c.by === by)?.id ?? by;

