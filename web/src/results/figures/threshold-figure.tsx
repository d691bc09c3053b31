// The thresholds of APET by task and model size: the counts at which it beats its reference, and at which it matches full tuning.

import { useMemo } from "preact/hooks";
import { compact, count } from "../../format";
import { decades, Empty, frame, HEIGHT } from "./choice";
import { PlotFigure } from "./plot";
import { shown } from "../table/found";
import { edition, records, rows } from "../../records/records";
import type { Threshold } from "../../wasm/view";

interface ThresholdPoint {
  task: string;
  model: string;
  parameters: number;
  which: string;
  count: number;
  low: number | null;
  high: number | null;
  /** Read from the fitted curve, or from the measured counts. */
  how: string;
}

/** The figure of thresholds. */
export function ThresholdFigure() {
  const found = useMemo(() => records()?.thresholds(shown.value) ?? [], [edition.value, shown.value]);
  const size = new Map(rows.value.map((r) => [r.model, r.parameters]));
  const points = found.flatMap(({ model, task, low, low_tried, high, high_tried }): ThresholdPoint[] => {
    const at = (which: string, curve: Threshold | null, tried: number | null) => {
      const of = { task, model, parameters: size.get(model) ?? 0, which };
      return [
        ...(curve ? [{ ...of, count: curve.count, low: curve.low, high: curve.high, how: "fitted" }] : []),
        ...(tried !== null ? [{ ...of, count: tried, low: null, high: null, how: "measured" }] : []),
      ];
    };
    return [...at("low", low, low_tried), ...at("high", high, high_tried)];
  });
  if (points.length === 0)
    return <Empty>This figure shows the count from which APET helps. It needs APET at several counts, the head alone and full tuning.</Empty>;
  const tasks = [...new Set(points.map((p) => p.task))];
  const most = Math.max(...points.map((p) => p.count)) * 10;
  const least = Math.max(1, Math.min(...points.map((p) => p.count)) / 10);
  const ends = points
    .filter((p) => p.how === "fitted")
    .map((p) => ({ ...p, low: Math.max(p.low ?? 0, least), high: Math.min(p.high ?? Infinity, most) }));
  const how = (p: ThresholdPoint) => (p.how === "measured" && p.which === "high" ? "between measured counts" : p.how);
  const says = (p: ThresholdPoint) => `${p.which} threshold of ${p.model} on ${p.task}, ${how(p)}: ${count(Math.round(p.count))}`;
  return (
    <>
      <PlotFigure
        says={points.map(says).join("; ")}
        height={HEIGHT}
        on={[found]}
        data={{ name: "thresholds", rows: points.map(({ ...p }) => p) }}
        draw={(Plot, width) =>
          Plot.plot({
            ...frame(width),
            fx: { label: null, domain: ["low", "high"].filter((w) => points.some((p) => p.which === w)), tickFormat: (w: string) => `${w} threshold` },
            x: { type: "log", label: "parameters of the model", ticks: decades(points.map((p) => p.parameters)), tickFormat: (n: number) => compact(n) },
            y: { type: "log", label: "trained parameters", grid: true, domain: [least, most], ticks: decades([least, most]), tickFormat: (n: number) => compact(n) },
            color: { type: "categorical", domain: tasks, range: tasks.map((_, i) => `var(--series-${(i % 8) + 1})`), legend: true },
            symbol: { domain: ["fitted", "measured"], range: ["circle", "times"], legend: true },
            marks: [
              Plot.line(
                points.filter((p) => p.how === "fitted"),
                { fx: "which", x: "parameters", y: "count", stroke: "task", strokeOpacity: 0.5, sort: "parameters" },
              ),
              Plot.ruleX(ends, { fx: "which", x: "parameters", y1: "low", y2: "high", stroke: "task", strokeWidth: 1.5 }),
              Plot.dot(points, { fx: "which", x: "parameters", y: "count", stroke: "task", symbol: "how", r: 4.5, strokeWidth: 1.75 }),
              Plot.tip(points, Plot.pointer({ fx: "which", x: "parameters", y: "count", title: says })),
            ],
          })
        }
      />
      <p class="hint">
        Low: better than the head alone. High: 95 % of the way from the head alone to full tuning. Circles: a logistic curve fitted
        to the scores of the runs, with 95 % intervals. Crosses: the first measured count above the threshold (low), or linear
        interpolation between measured counts (high).
      </p>
    </>
  );
}
