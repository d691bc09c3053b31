// What the figures share: the choice of task and split, an empty state, axes, colours and symbols.

import { methodTitle } from "../../format";
import { inAddress } from "../../route";
import { expression } from "../table/filter";
import { filter, found, shown } from "../table/found";
import { opened } from "../../records/selection";
import { rows } from "../../records/records";

/** The height of a figure in pixels. */
export const HEIGHT = 300;

/** The split of the scores. */
export const split = inAddress("results", "split", "test");
const task = inAddress("results", "task", "");
/** Set in an address that shows a single figure, to be embedded in another page. */
export const alone = inAddress("results", "alone", "");

/** The task of a figure, among those in the table. */
export function chosenTask(): { tasks: string[]; chosen: string } {
  const tasks = [...new Set(found.value.map((r) => r.task))].sort();
  return { tasks, chosen: tasks.includes(task.value) ? task.value : (tasks[0] ?? "") };
}

/** The query for apet-study: the runs of the table with one task. */
export const query = (of: string) => ({
  ...(of && { task: of }),
  split: split.value as "dev" | "test",
  ...(shown.value && { runs: shown.value }),
});

/** Chooses the task of a figure. */
export function TaskChoice() {
  const { tasks, chosen } = chosenTask();
  return (
    <FigureMenu label="Task" value={chosen} options={tasks.map((t) => [t, t])} choose={(value) => (task.value = value)} />
  );
}

/** Chooses the split of a figure. */
export const SplitChoice = () => (
  <FigureMenu
    label="Split"
    value={split.value}
    options={[
      ["test", "test"],
      ["dev", "dev"],
    ]}
    choose={(value) => (split.value = value)}
  />
);

interface FigureMenuProps {
  label: string;
  value: string;
  options: (readonly [value: string, title: string])[];
  choose(value: string): void;
}

/** A labelled menu of options. */
export function FigureMenu({ label, value, options, choose }: FigureMenuProps) {
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

/** Stands in place of a figure without data. */
export const Empty = ({ children }: { children: string }) => (
  <p class="empty" style={{ minHeight: `${HEIGHT}px` }}>
    {children}
  </p>
);

interface RunPoint {
  runs: string[];
  model: string;
  task: string;
  method: string;
  count: number;
}

/** The learning rate of a point's runs. */
const rateOf = (point: RunPoint) => rows.value.find((r) => r.key === point.runs[0])?.learning_rate;

/** Distinguishes a point from others of the same model, method and count: its learning rate, if theirs differ. */
export function distinction(point: RunPoint, points: RunPoint[]): string {
  const alike = points.filter((p) => p.model === point.model && p.method === point.method && p.count === point.count);
  return new Set(alike.map(rateOf)).size > 1 ? `rate ${rateOf(point)}` : "";
}

/** Opens the page of a point's only run, or filters the table for its runs. Does nothing in an embedded figure. */
export function openPoint(point: RunPoint, points: RunPoint[]): void {
  if (alone.value) return;
  const [only] = point.runs;
  if (point.runs.length === 1 && only !== undefined) {
    opened.value = only;
    return;
  }
  const { model, task, method, count } = point;
  const of = { model, task, method, tuned: count, ...(distinction(point, points) && { rate: rateOf(point) ?? 0 }) };
  const words = Object.entries(of).map(([name, value]) => expression({ [name]: value }));
  const isIn = (word: string) => ` ${filter.value} `.includes(` ${word} `);
  filter.value = [filter.value, ...words.filter((word) => !isIn(word))].join(" ").trim();
}

/** Models by size, so that each has the same colour in every figure. */
export function modelsOf(points: { model: string; parameters: number }[]): string[] {
  const sizes = new Map(points.map((p) => [p.model, p.parameters]));
  return [...sizes].sort((a, b) => a[1] - b[1] || a[0].localeCompare(b[0])).map(([model]) => model);
}

/** Ticks of a logarithmic axis: powers of ten, or Plot's own if fewer than two are in range. */
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

/** The style of a point: colour by model, symbol by method. */
export const symbol = (strokeOpacity: (p: { front: boolean }) => number) => ({
  stroke: "model",
  symbol: (p: { method: string }) => methodTitle(p.method),
  r: 4.5,
  strokeWidth: 1.75,
  strokeOpacity,
});

/** A colour scale of models. */
export const colours = (models: string[]) => ({
  type: "categorical" as const,
  domain: models,
  range: models.map((_, i) => `var(--series-${(i % 8) + 1})`),
});

