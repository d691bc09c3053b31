// What the figures have in common: a task, a split, an empty state.

import { methodTitle } from "../../format";
import { inAddress } from "../../route";
import { expression } from "../table/filter";
import { filter, found, shown } from "../table/found";
import { opened } from "../../records/selection";
import { rows } from "../../records/records";

/** A figure's height, pixels. */
export const HEIGHT = 300;

export const split = inAddress("results", "split", "test");
const task = inAddress("results", "task", "");
/** Said by an address of the figure alone, for another page to hold. */
export const alone = inAddress("results", "alone", "");

/** The task a figure is of, among those that the table shows. */
export function chosenTask(): { tasks: string[]; chosen: string } {
  const tasks = [...new Set(found.value.map((r) => r.task))].sort();
  return { tasks, chosen: tasks.includes(task.value) ? task.value : (tasks[0] ?? "") };
}

/** What apet-study is asked for: the runs of the table, of one task. */
export const asked = (of: string) => ({
  ...(of && { task: of }),
  split: split.value as "dev" | "test",
  ...(shown.value && { runs: shown.value }),
});

export function TaskChoice() {
  const { tasks, chosen } = chosenTask();
  return (
    <Choice label="Task" value={chosen} options={tasks.map((t) => [t, t])} choose={(value) => (task.value = value)} />
  );
}

export const SplitChoice = () => (
  <Choice
    label="Split"
    value={split.value}
    options={[
      ["test", "test"],
      ["dev", "dev"],
    ]}
    choose={(value) => (split.value = value)}
  />
);

interface ChoiceProps {
  label: string;
  value: string;
  options: (readonly [value: string, title: string])[];
  choose(value: string): void;
}

export function Choice({ label, value, options, choose }: ChoiceProps) {
  if (options.length === 0) return null;
  return (
    <label class="inline">
      <span>{label}</span>
      <select value={value} onChange={(e) => choose(e.currentTarget.value)}>
        {options.map(([option, title]) => (
          <option key={option} value={option} selected={option === value}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}

export const Empty = ({ children }: { children: string }) => (
  <p class="empty" style={{ minHeight: `${HEIGHT}px` }}>
    {children}
  </p>
);

interface Point {
  runs: string[];
  model: string;
  task: string;
  method: string;
  count: number;
}

/** The learning rate of a point's runs. */
const rateOf = (point: Point) => rows.value.find((r) => r.key === point.runs[0])?.learning_rate;

/** What tells a point from those of the same model, method and count: its learning rate, where theirs differ. */
export function apart(point: Point, points: Point[]): string {
  const alike = points.filter((p) => p.model === point.model && p.method === point.method && p.count === point.count);
  return new Set(alike.map(rateOf)).size > 1 ? `rate ${rateOf(point)}` : "";
}

/** Where a point leads: the page of its run, or its runs among those of the table. A figure alone leads nowhere. */
export function follow(point: Point, points: Point[]): void {
  if (alone.value) return;
  const [only] = point.runs;
  if (point.runs.length === 1 && only !== undefined) {
    opened.value = only;
    return;
  }
  const { model, task, method, count } = point;
  const of = { model, task, method, tuned: count, ...(apart(point, points) && { rate: rateOf(point) ?? 0 }) };
  const words = Object.entries(of).map(([name, value]) => expression({ [name]: value }));
  const there = (word: string) => ` ${filter.value} `.includes(` ${word} `);
  filter.value = [filter.value, ...words.filter((word) => !there(word))].join(" ").trim();
}

/** Models in the order of their size, so that each keeps its colour from figure to figure. */
export function modelsOf(points: { model: string; parameters: number }[]): string[] {
  const sizes = new Map(points.map((p) => [p.model, p.parameters]));
  return [...sizes].sort((a, b) => a[1] - b[1] || a[0].localeCompare(b[0])).map(([model]) => model);
}

/** Ticks of a logarithmic axis: powers of ten, or as many as fit where there are few. */
export function decades(values: number[]): number[] | number {
  const [low, high] = [Math.min(...values) * 0.99, Math.max(...values) * 1.01];
  const powers = Array.from({ length: 40 }, (_, i) => 10 ** (i - 20)).filter((p) => p >= low && p <= high);
  return powers.length >= 2 ? powers : 3;
}

/** The size of a figure and its margins. */
export const frame = (width: number) => ({ width, height: HEIGHT, marginLeft: 48, marginRight: 20 });

/** Models by colour, methods by symbol, with their legends. */
export const byModelAndMethod = (points: { model: string; parameters: number; method: string }[]) => ({
  color: { ...colours(modelsOf(points)), legend: true },
  symbol: { domain: [...new Set(points.map((p) => methodTitle(p.method)))], legend: true },
});

/** A point of a model and a method. */
export const symbol = (strokeOpacity: (p: { front: boolean }) => number) => ({
  stroke: "model",
  symbol: (p: { method: string }) => methodTitle(p.method),
  r: 4.5,
  strokeWidth: 1.75,
  strokeOpacity,
});

export const colours = (models: string[]) => ({
  type: "categorical" as const,
  domain: models,
  range: models.map((_, i) => `var(--series-${(i % 8) + 1})`),
});

