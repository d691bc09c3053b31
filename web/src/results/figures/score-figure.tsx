// Scores against the number of trained parameters: mean and interval over seeds, by
// model and method. All numbers come from apet-study through apet-view.

import { compact, count, methodTitle, percent } from "../../format";
import { distinction, query, chosenTask, colours, Empty, openPoint, HEIGHT, modelsOf, SplitChoice, TaskChoice } from "./choice";
import { shown } from "../table/found";
import { edition, records } from "../../records/records";
import { PlotFigure } from "./plot";
import type { Group, ScoreGroups } from "../../wasm/view";

/** The height of one of several small figures. */
const SMALL = 220;

/** The figure of scores against trained parameters. */
export function ScoreFigure() {
  const { chosen } = chosenTask();
  const figure = chosen ? records()?.scoreAgainstCount(query(chosen)) : undefined;
  const groups = figure?.groups ?? [];
  return (
    <>
      <div class="bar">
        <TaskChoice />
        <SplitChoice />
      </div>
      {!figure || groups.length === 0 ? (
        <Empty>Finished runs appear here, by the number of trained parameters.</Empty>
      ) : (
        <PlotFigure
          says={inWords(chosen, groups)}
          height={HEIGHT}
          on={[edition.value, shown.value, chosen, query(chosen).split]}
          data={{ name: `scores-${chosen}`, rows: groups.map(({ runs: _, setting, ...group }) => ({ ...group, setting })) }}
          pick={(group) => openPoint(group as Group, groups)}
          draw={(Plot, width) => draw(Plot, width, figure)}
        />
      )}
      <p class="hint one">
        {groups.length > 0 && "Points are means over seeds, bars their 95 % intervals (two seeds or more)."}
        {figure && figure.full.length > 0 && " Dashed lines: full tuning."}
        {figure &&
          figure.left_out > 0 &&
          ` ${count(figure.left_out)} unfinished or diverged ${figure.left_out === 1 ? "run is" : "runs are"} left out.`}
      </p>
    </>
  );
}

interface MultiplesProps {
  task: string;
  models: string[];
  /** Whether a group is drawn. */
  shows(group: Group): boolean;
  /** Values that the drawing depends on. */
  on: unknown[];
}

/** A small figure for each model, on the same scales. */
export function ScoreMultiples({ task: of, models, shows, on }: MultiplesProps) {
  const figures = models.map((model) => {
    const figure = records()?.scoreAgainstCount({ task: of, model, split: "test" });
    return figure && { ...figure, groups: figure.groups.filter(shows), full: figure.full.filter(shows) };
  });
  const drawn = figures.filter((f) => f !== undefined && f.groups.length > 0) as ScoreGroups[];
  const among = drawn.flatMap((f) => f.groups);
  const methods = [...new Set(among.map((g) => methodTitle(g.method)))];
  if (drawn.length === 0) return null;
  return (
    <>
      <PlotFigure
        says={`Symbols: ${methods.join(", ")}`}
        height={24}
        on={on}
        draw={(Plot) => Plot.legend({ symbol: { domain: methods } })}
      />
      <div class="multiples">
        {drawn.map((figure) => (
          <div key={figure.groups[0]?.model}>
            <h4>
              {figure.groups[0]?.model} <span>{compact(figure.groups[0]?.parameters ?? 0)} parameters</span>
            </h4>
            <PlotFigure
              says={inWords(of, figure.groups)}
              height={SMALL}
              on={on}
              draw={(Plot, width) => draw(Plot, width, figure, among)}
            />
          </div>
        ))}
      </div>
    </>
  );
}

/** Draws a figure; if it is one of several, `among` has the groups of all of them, for common scales. */
function draw(Plot: typeof import("@observablehq/plot"), width: number, figure: ScoreGroups, among?: Group[]): Element {
  const { groups, full, uniform_guess: uniform, majority_guess: majority } = figure;
  const all = among ?? groups;
  const models = modelsOf(all);
  const methods = [...new Set(all.map((g) => methodTitle(g.method)))];
  // Head only trains no parameter of the model; on a log axis it is placed left of all others.
  const positive = all.filter((g) => g.count > 0).map((g) => g.count);
  const zero = 10 ** (Math.floor(Math.log10(Math.min(...(positive.length > 0 ? positive : [10])))) - 1);
  const at = (g: Group) => (g.count > 0 ? g.count : zero);
  const low = Math.min(...all.map(at));
  const high = Math.max(...all.map(at));
  const hasZero = all.some((g) => g.count === 0);
  const [from, to] = [low / 1.6, high * 1.6];
  const powers = Array.from({ length: 12 }, (_, i) => 10 ** i).filter((d) => d >= from && d <= to);
  // If no power of ten is in range, use the counts.
  const ticks = powers.some((d) => d > zero) || positive.length === 0 ? powers : [...new Set([...powers, ...positive])];
  if (hasZero && zero < 1) ticks.unshift(zero);
  const levels = [
    { y: uniform, text: "chance level", dy: 9 },
    { y: majority === uniform ? null : majority, text: "majority class", dy: -8 },
  ].filter((g): g is { y: number; text: string; dy: number } => g.y !== null);
  const means = all.map((g) => g.mean);
  const scores = [...all.flatMap((g) => [g.mean, g.low ?? g.mean, g.high ?? g.mean]), ...levels.map((g) => g.y)];
  // An interval of few seeds can exceed the range of a score; clip it. Only Matthews' correlation can be negative.
  const lowest = Math.max(Math.min(...scores), Math.min(0, ...means));
  const highest = Math.min(Math.max(...scores), 1);
  const withInterval = groups.filter((g) => g.low !== null && g.high !== null);
  const title = (g: Group) =>
    `${g.model}, ${methodTitle(g.method)}\n${[`${count(g.count)} parameters`, distinction(g, all)].filter(Boolean).join(", ")}\n${percent(g.mean)}${g.low !== null && g.high !== null ? ` (${percent(g.low)} to ${percent(g.high)})` : ""}\n${g.n} ${g.n === 1 ? "run" : "runs"}`;
  return Plot.plot({
    width,
    height: among ? SMALL : HEIGHT,
    marginLeft: 48,
    marginRight: 16,
    insetBottom: 16,
    x: {
      type: "log",
      label: among ? "trained parameters" : "trained parameters (without the classifier)",
      domain: [from, to],
      ticks,
      tickFormat: (t: number) => (hasZero && t === zero ? "0" : short(t)),
    },
    y: {
      label: figure.metric ?? "score",
      grid: true,
      nice: true,
      tickFormat: "~%",
      domain: [lowest, highest],
    },
    color: {
      ...colours(models),
      legend: !among && models.length > 1,
    },
    symbol: { domain: methods, legend: !among },
    marks: [
      Plot.ruleY(levels, { y: "y", stroke: "var(--ink-2)", strokeDasharray: "2,4" }),
      ...levels.map((g) =>
        Plot.text([g], { y: "y", text: "text", frameAnchor: "right", dy: g.dy, fill: "var(--ink-2)", fontSize: 11 }),
      ),
      Plot.ruleY(full, { y: "mean", stroke: "model", strokeOpacity: 0.6, strokeDasharray: "6,4" }),
      Plot.line(
        groups.filter((g) => g.count > 0),
        {
          x: at,
          y: "mean",
          z: (g: Group) => `${g.model}|${g.method}`,
          stroke: "model",
          strokeOpacity: 0.5,
          sort: { channel: "x" },
        },
      ),
      Plot.ruleX(withInterval, {
        x: at,
        y1: (g: Group) => Math.max(g.low ?? g.mean, lowest),
        y2: (g: Group) => Math.min(g.high ?? g.mean, highest),
        stroke: "model",
        strokeWidth: 1.5,
      }),
      Plot.dot(groups, {
        x: at,
        y: "mean",
        stroke: "model",
        symbol: (g: Group) => methodTitle(g.method),
        r: 4.5,
        strokeWidth: 1.75,
      }),
      Plot.tip(groups, Plot.pointer({ x: at, y: "mean", title })),
    ],
  });
}

const short = (n: number) => (n >= 1e6 ? `${n / 1e6}M` : n >= 1e3 ? `${n / 1e3}k` : String(n));

function inWords(of: string, groups: Group[]): string {
  const metric = groups[0]?.metric ?? "score";
  return `${metric.charAt(0).toUpperCase()}${metric.slice(1)} on ${of} against trained parameters: ${groups.map((g) => `${g.model} ${methodTitle(g.method)} ${count(g.count)}: ${percent(g.mean)}`).join("; ")}`;
}
