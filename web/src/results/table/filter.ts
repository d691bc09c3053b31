// The filter of the runs table: words and comparisons.
//
//   lora minilm            both words, anywhere in the row; numbers are searched only for words with a digit
//   -snli                  without it
//   method=lora test>80%   = != > >= < <= and ~ (contains), on fields by name; -method=lora negates it

import type { Row } from "../../wasm/view";

/** A field that can be compared. */
export interface Field {
  /** Its name in a filter. */
  id: string;
  /** Its texts are numbers. */
  numeric?: boolean;
  value(row: Row): string | number | null;
  show(row: Row): string;
}

/** Whether a run passes the filter. */
export type Test = (row: Row) => boolean;

const COMPARISON = /^(-?)([a-z_]+[0-9]*)(>=|<=|!=|==?|>|<|~)(.*)$/i;

/** Parses a filter; returns an error message if it is invalid. `name` returns the user's name of a run. */
export function parse(text: string, fields: Field[], name: (row: Row) => string): Test | string {
  const tests: Test[] = [];
  for (const [, quoted, plain = ""] of text.matchAll(/"([^"]*)"|((?:[^\s"]|"[^"]*")+)/g)) {
    const word = quoted ?? plain;
    const comparison = quoted === undefined && COMPARISON.exec(word);
    if (comparison) {
      const [, minus, id = "", sign = "", wanted = ""] = comparison;
      const found = fields.find((f) => f.id === id.toLowerCase());
      // A run is found by the name that the user gave it.
      const called = (row: Row) => (name(row) === row.name ? row.run.slice(0, 8) : name(row));
      const field = found?.id === "run" ? { ...found, show: called } : found;
      if (!field) return `Unknown field "${id}"; expected one of ${fields.map((f) => f.id).join(", ")}.`;
      const test = compared(field, sign, wanted.replaceAll('"', ""));
      if (typeof test === "string") return test;
      tests.push(minus ? (row) => !test(row) : test);
      continue;
    }
    if (quoted === undefined && /^[=<>!~]+/.test(word)) return `"${word}": expected a comparison without spaces, such as test>80%.`;
    const without = quoted === undefined && word.length > 1 && word.startsWith("-");
    const wanted = (without ? word.slice(1) : word).toLowerCase();
    // Formatting numbers would take most of the time, and a word without a digit matches none of them.
    const sought = /\d/.test(wanted) ? fields : fields.filter((f) => !f.numeric);
    const written = (row: Row) => [name(row), row.run, row.name, row.method, ...sought.map((f) => f.show(row))].join(" ").toLowerCase();
    tests.push((row) => written(row).includes(wanted) !== without);
  }
  return (row) => tests.every((test) => test(row));
}

function compared(field: Field, sign: string, wanted: string): Test | string {
  if (sign === "~") return (row) => field.show(row).toLowerCase().includes(wanted.toLowerCase());
  const number = numeric(wanted);
  if (sign === "=" || sign === "==" || sign === "!=") {
    if (/^[=<>]/.test(wanted)) return `${field.id}${sign}${wanted}: expected one of = != > >= < <= ~.`;
    // A fractional number also matches what the table shows for it.
    const bare = (text: string) => text.replaceAll(/\s/g, "").toLowerCase();
    const sought = bare(wanted);
    const isWhole = /^-?[\d,]+$/.test(wanted);
    const is: Test = (row) => {
      const value = field.value(row);
      if (typeof value === "number" && (value === number || isWhole)) return value === number;
      return bare(String(value ?? "")) === sought || bare(field.show(row)) === sought;
    };
    return sign === "!=" ? (row) => !is(row) : is;
  }
  if (number === undefined) return `${field.id}${sign}${wanted}: expected a number, such as 0.8, 80% or 10k.`;
  return (row) => {
    const value = field.value(row);
    if (typeof value !== "number") return false;
    return sign === ">" ? value > number : sign === "<" ? value < number : sign === ">=" ? value >= number : value <= number;
  };
}

/** 0.8, 80%, 10,000, 10k, 1.5M. */
function numeric(text: string): number | undefined {
  const [, digits, unit = ""] = /^(-?(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d+)?(?:e-?\d+)?)\s?(%|[kKMG])?$/.exec(text) ?? [];
  if (digits === undefined || !/\d/.test(digits)) return undefined;
  const number = Number(digits.replaceAll(",", "")) * { "": 1, "%": 0.01, k: 1e3, K: 1e3, M: 1e6, G: 1e9 }[unit as "" | "%"]!;
  // So that 80% is 0.8, not 0.8000000000000002.
  return Number.isFinite(number) ? Number(number.toPrecision(12)) : undefined;
}

/** A filter that finds the runs of a group. */
export const expression = (of: Record<string, string | number>) =>
  Object.entries(of)
    .map(([name, value]) => `${name}=${/\s/.test(String(value)) ? `"${value}"` : value}`)
    .join(" ");
