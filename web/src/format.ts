// Formats numbers and names for people to read.

import { METHODS } from "./generated/methods";

const whole = new Intl.NumberFormat("en");
const and = new Intl.ListFormat("en-GB");
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const count = (n: number) => whole.format(n);
export const compact = (n: number) => short.format(n);
export const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
export const list = (names: string[]) => and.format(names);
export const score = (x: number | null | undefined) => (x == null ? "–" : percent(x));

/** The message of anything that was thrown. */
export const errorText = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** Two significant digits: 260, 0.023. */
export const rough = (n: number) => String(Number(n.toPrecision(2)));
export const share = (part: number, of: number) => (of > 0 ? `${rough((100 * part) / of)} %` : "–");

export const megabytes = (bytes: number) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);

export const loss = (x: number | undefined) => (x === undefined ? "–" : x.toFixed(3));

export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** A start time in the local time zone. */
export function when(rfc3339: string): string {
  const date = new Date(rfc3339);
  return Number.isNaN(date.getTime()) ? "–" : moment.format(date);
}

/** A method's title; the name itself for a run of another program. */
export const methodTitle = (name: string) => METHODS.find((method) => method.name === name)?.title ?? name;

const METRICS: Record<string, string> = {
  f1: "F1",
  matthews: "Matthews' correlation",
  squad_f1: "F1 of words",
  rouge_l: "ROUGE-L",
  bleu: "BLEU",
};

/** The title of a metric, the same as apet-record's `Metric::title`. */
export const metricTitle = (name: string | undefined) => METRICS[name ?? ""] ?? name ?? "accuracy";
