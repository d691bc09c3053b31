// Effects of scale: the spread across methods (claim 1), the distance of each method from APET (claim 2), and the spread
// across placements of APET's parameters.

import { useMemo } from "preact/hooks";
import { compact, count } from "../../format";
import { colours, decades, Empty, frame, HEIGHT, modelsOf } from "./choice";
import { found, shown } from "../table/found";
import { PlotFigure } from "./plot";
import { edition, records } from "../../records/records";
import type { ClaimResult } from "../../wasm/view";

interface ScalePoint {
  model: string;
  parameters: number;
  value: number;
  low: number | null;
  high: number | null;
  note: string;
}

/** Spread across methods against the model's size. */
export const SpreadFigure = () => (
  <ClaimFigure number={1} empty="This figure shows the spread across methods. It needs two methods on the same model." />
);
/** Distance from APET against the model's size. */
export const DistanceFigure = () => (
  <ClaimFigure number={2} empty="This figure shows the distance of methods from APET. It needs a method, and APET with the same number of parameters." />
);

/** The estimates of a claim, tested on all runs of the table. */
function ClaimFigure({ number, empty }: { number: number; empty: string }) {
  const answer = useMemo<ClaimResult | undefined>(() => {
    if (found.value.length === 0) return undefined;
    return records()?.answers(shown.value).claims.find((c) => c.number === number);
  }, [edition.value, shown.value]);
  const size = new Map(found.value.map((r) => [r.model, r.parameters]));
  const points = (answer?.figures ?? []).flatMap(({ of: model, value, low, high, note }) =>
    value === null ? [] : [{ model, parameters: size.get(model) ?? 0, value, low, high, note }],
  );
  if (!answer || points.length === 0) return <Empty>{empty}</Empty>;
  const { verdict, reason, measure } = answer;
  return (
    <>
      <ScaleFigure name={number === 1 ? "spread" : "distance"} label="points" points={points} on={[answer]} />
      <p class="hint">
        {measure} These runs: claim {number} is {verdict.replace("_", " ")}. {reason}
      </p>
    </>
  );
}

/** Spread across placements against the model's size. */
export function PlacementFigure() {
  const found = useMemo(() => records()?.placements(shown.value), [edition.value, shown.value]);
  const points = (found?.models ?? []).map((m) => ({
    model: m.model,
    parameters: m.parameters,
    value: 100 * m.spread,
    low: 100 * m.low,
    high: 100 * m.high,
    note: `${m.cells} tasks and counts, ${m.placements} placements x ${m.seeds} seeds`,
  }));
  if (points.length === 0)
    return (
      <Empty>
        This figure shows the effect of the positions of APET's parameters. It needs runs whose placements are crossed with their
        other seeds.
      </Empty>
    );
  const trend = found?.trend;
  const signed = (x: number) => `${x < 0 ? "−" : "+"}${Math.abs(100 * x).toFixed(1)}`;
  return (
    <>
      <ScaleFigure name="placements" label="points" points={points} on={[found]} />
      <p class="hint">
        Standard deviation of scores across placements, without the effect of the other seeds, with 95 % intervals.
        {trend &&
          ` For a model ten times as large it changes by ${signed(trend.slope)} points [${signed(trend.low)}, ${signed(trend.high)}], p = ${trend.p.toFixed(2)}.`}
      </p>
    </>
  );
}

interface ScaleProps {
  name: string;
  label: string;
  points: ScalePoint[];
  on: unknown[];
}

/** Values with intervals against the models' size. */
function ScaleFigure({ name, label, points, on }: ScaleProps) {
  const models = modelsOf(points);
  const shown = (p: ScalePoint) =>
    `${p.value.toFixed(1)}${p.low !== null && p.high !== null ? ` [${p.low.toFixed(1)}, ${p.high.toFixed(1)}]` : ""}`;
  return (
    <PlotFigure
      says={points.map((p) => `${p.model}: ${shown(p)} ${label}`).join("; ")}
      height={HEIGHT}
      on={on}
      data={{ name, rows: points.map(({ ...p }) => p) }}
      draw={(Plot, width) =>
        Plot.plot({
          ...frame(width),
          x: { type: "log", label: "parameters of the model", tickFormat: (n: number) => compact(n), ticks: decades(points.map((p) => p.parameters)) },
          y: { label, grid: true, nice: true, zero: true },
          color: { ...colours(models), legend: true },
          marks: [
            Plot.line(points, { x: "parameters", y: "value", stroke: "var(--ink-2)", strokeOpacity: 0.4 }),
            Plot.ruleX(
              points.filter((p) => p.low !== null && p.high !== null),
              { x: "parameters", y1: "low", y2: "high", stroke: "model", strokeWidth: 1.75 },
            ),
            Plot.dot(points, { x: "parameters", y: "value", fill: "model", r: 4.5 }),
            Plot.tip(
              points,
              Plot.pointer({
                x: "parameters",
                y: "value",
                title: (p: ScalePoint) => `${p.model}, ${count(p.parameters)} parameters\n${shown(p)} ${label}${p.note && `\n${p.note}`}`,
              }),
            ),
          ],
        })
      }
    />
  );
}
