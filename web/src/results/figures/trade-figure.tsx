// Scores against their cost with the Pareto front, and the steps to convergence.

import { compact, count, duration, megabytes, methodTitle, percent } from "../../format";
import { inAddress } from "../../route";
import {
  distinction,
  query,
  byModelAndMethod,
  FigureMenu,
  chosenTask,
  decades,
  Empty,
  openPoint,
  frame,
  HEIGHT,
  SplitChoice,
  symbol,
  TaskChoice,
} from "./choice";
import { shown } from "../table/found";
import { PlotFigure } from "./plot";
import { edition, records } from "../../records/records";
import type { Cost, ParetoPoint } from "../../wasm/view";

const COSTS: Record<Cost, { title: string; show(cost: number): string }> = {
  parameters: { title: "trained parameters", show: (n) => count(Math.round(n)) },
  seconds: { title: "seconds of a run", show: (n) => duration(n) },
  memory: { title: "memory", show: (n) => `${megabytes(n)} MB` },
  steps: { title: "steps to 90 %", show: (n) => count(Math.round(n)) },
};
const cost = inAddress("results", "cost", "seconds");

/** Points as rows of a table. */
const flat = (points: ParetoPoint[]) =>
  points.map(({ cost, runs: _, ...point }) => ({ ...point, cost: cost.mean, cost_low: cost.low, cost_high: cost.high }));

/** A point as text; `about` is its middle line. */
function inWords(point: ParetoPoint, points: ParetoPoint[], about: string): string {
  const { model, method, count: tuned, n } = point;
  const of = [model, methodTitle(method), `${count(tuned)} trained`, distinction(point, points)].filter(Boolean).join(", ");
  return `${of}\n${about}\n${n} ${n === 1 ? "run" : "runs"}`;
}

/** The figure of scores against cost. */
export function TradeFigure() {
  const { chosen } = chosenTask();
  const by = (cost.value in COSTS ? cost.value : "seconds") as Cost;
  const points = chosen ? (records()?.tradeOffs(query(chosen), by) ?? []) : [];
  const { title, show } = COSTS[by];
  // Head only trains no parameter of the model; on a log axis it is placed at 1.
  const at = (p: ParetoPoint) => Math.max(p.cost.mean, by === "parameters" || by === "steps" ? 1 : 1e-3);
  const front = points.filter((p) => p.front).sort((a, b) => at(a) - at(b));
  const says = (p: ParetoPoint) => inWords(p, points, `${percent(p.mean)}, ${show(p.cost.mean)}`);
  return (
    <>
      <div class="bar">
        <TaskChoice />
        <SplitChoice />
        <FigureMenu
          label="Cost"
          value={by}
          options={Object.entries(COSTS).map(([name, { title }]) => [name, title])}
          choose={(value) => (cost.value = value)}
        />
      </div>
      {points.length === 0 ? (
        <Empty>Finished runs with a known cost appear here.</Empty>
      ) : (
        <PlotFigure
          says={`Pareto front: ${front.map((p) => says(p).replaceAll("\n", ", ")).join("; ")}`}
          height={HEIGHT}
          on={[edition.value, shown.value, chosen, by, query(chosen).split]}
          data={{ name: `cost-${by}`, rows: flat(points) }}
          pick={(p) => openPoint(p as ParetoPoint, points)}
          draw={(Plot, width) =>
            Plot.plot({
              ...frame(width),
              ...byModelAndMethod(points),
              x: { type: "log", label: title, ticks: decades(points.map(at)), tickFormat: (n: number) => (by === "memory" ? `${compact(n / 1e6)} MB` : by === "parameters" && n === 1 && points.some((p) => p.count === 0) ? "0" : compact(n)) },
              y: { label: points[0]?.metric ?? "score", grid: true, nice: true, tickFormat: "~%" },
              marks: [
                Plot.line(front, { x: at, y: "mean", curve: "step-after", stroke: "var(--ink-2)", strokeDasharray: "4,3" }),
                Plot.dot(points, { x: at, y: "mean", ...symbol((p) => (p.front ? 1 : 0.55)) }),
                Plot.tip(points, Plot.pointer({ x: at, y: "mean", title: says })),
              ],
            })
          }
        />
      )}
      <p class="hint one">{points.length > 0 && "Means over seeds. Dashed line: Pareto front (no other point has a higher score at a lower cost)."}</p>
    </>
  );
}

/** Steps until the dev score reached 90 % of its best gain over chance, against trained parameters. */
export function ConvergenceFigure() {
  const { chosen } = chosenTask();
  const points = chosen ? (records()?.tradeOffs(query(chosen), "steps") ?? []) : [];
  const at = (p: ParetoPoint) => Math.max(p.count, 1);
  const withInterval = points.filter((p) => p.cost.low !== null && p.cost.high !== null);
  const says = (p: ParetoPoint) => inWords(p, points, `${p.cost.mean.toFixed(0)} steps`);
  return (
    <>
      <div class="bar">
        <TaskChoice />
      </div>
      {points.length === 0 ? (
        <Empty>Finished runs that are better than chance appear here, with the steps they took to come close to their best score.</Empty>
      ) : (
        <PlotFigure
          says={points.map((p) => says(p).replaceAll("\n", ", ")).join("; ")}
          height={HEIGHT}
          on={[edition.value, shown.value, chosen, query(chosen).split]}
          data={{ name: "convergence", rows: flat(points) }}
          pick={(p) => openPoint(p as ParetoPoint, points)}
          draw={(Plot, width) =>
            Plot.plot({
              ...frame(width),
              ...byModelAndMethod(points),
              x: {
                type: "log",
                label: "trained parameters",
                ticks: decades(points.map(at)),
                // Head only trains no parameter of the model.
                tickFormat: (n: number) => (n === 1 && points.some((p) => p.count === 0) ? "0" : compact(n)),
              },
              y: { label: "steps to 90 % of the best dev score", grid: true, zero: true, nice: true },
              marks: [
                Plot.ruleX(withInterval, {
                  x: at,
                  y1: (p: ParetoPoint) => Math.max(0, p.cost.low ?? 0),
                  y2: (p: ParetoPoint) => p.cost.high,
                  stroke: "model",
                  strokeOpacity: 0.4,
                }),
                Plot.dot(points, { x: at, y: (p: ParetoPoint) => p.cost.mean, ...symbol(() => 1) }),
                Plot.tip(points, Plot.pointer({ x: at, y: (p: ParetoPoint) => p.cost.mean, title: says })),
              ],
            })
          }
        />
      )}
      <p class="hint one">
        {points.length > 0 && "The first evaluation at which the dev score has reached 90 % of its best gain over chance; means over seeds, 95 % intervals."}
      </p>
    </>
  );
}
