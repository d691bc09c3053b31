// Live charts of the run: loss, and the dev score with its chance levels.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count, loss, metricTitle, percent } from "../../format";
import { edition, records } from "../../records/records";
import { spec } from "../choices";
import { live } from "./live";

const HEIGHT = 240;
const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

interface Series {
  label: string;
  color: string;
  dash?: number[];
  points?: boolean;
}

interface ChartProps {
  title: string;
  /** The chart's content as text, for screen readers. */
  says: string;
  lines: Series[];
  data: uPlot.AlignedData;
  show(value: number): string;
  tick(value: number): string;
  /** The total steps: the axis does not move during the run. */
  steps: number;
}

function Chart({ title, says, lines, data, show, tick, steps }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(data);
  const [under, setUnder] = useState("");
  const scheme = useScheme();
  latest.current = data;

  useEffect(() => {
    const at = place.current;
    if (!at) return;
    const axis: uPlot.Axis = {
      stroke: token("--ink-2"),
      grid: { stroke: token("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const options: uPlot.Options = {
      width: at.clientWidth,
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { drag: { setScale: false }, points: { size: 6 } },
      scales: {
        x: { time: false, range: [0, Math.max(steps, 1)] },
        y: { range: (_, low, high) => (low == null ? [0, 1] : uPlot.rangeNum(low, high, 0.1, true)) },
      },
      axes: [
        { ...axis, size: 28 },
        { ...axis, size: 52, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [
        {},
        ...lines.map((l) => ({
          label: l.label,
          stroke: token(l.color),
          width: 1.5,
          dash: l.dash ?? [],
          points: { show: l.points ?? false, size: 5 },
        })),
      ],
      hooks: {
        setCursor: [
          (u) => {
            const i = u.cursor.idx;
            const value = i == null ? undefined : u.data[1]?.[i];
            setUnder(i == null || value == null ? "" : `step ${count(u.data[0][i] ?? 0)}: ${show(value)}`);
          },
        ],
      },
    };
    plot.current = new uPlot(options, latest.current, at);
    const watch = new ResizeObserver(
      () => at.clientWidth > 0 && plot.current?.setSize({ width: at.clientWidth, height: HEIGHT }),
    );
    watch.observe(at);
    return () => {
      watch.disconnect();
      plot.current?.destroy();
    };
  }, [scheme, steps, lines.length]);

  useEffect(() => plot.current?.setData(data), [data]);

  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        <span class="chart-value">{under || says}</span>
      </figcaption>
      <div
        ref={place}
        class="canvas"
        role="img"
        aria-label={`${title}: ${says || "no values yet"}`}
        style={{ height: `${HEIGHT}px` }}
      />
      {lines.length > 1 && (
        <p class="keys">
          {lines.map((l) => (
            <span key={l.label}>
              <i class={l.dash ? "dashed" : ""} style={{ borderColor: `var(${l.color})` }} />
              {l.label}
            </span>
          ))}
        </p>
      )}
    </figure>
  );
}

const LOSS: Series[] = [{ label: "loss", color: "--series-1" }];
const DEV: Series[] = [
  { label: "dev", color: "--series-1", points: true },
  { label: "chance level", color: "--ink-2", dash: [2, 4] },
  { label: "majority class", color: "--series-2", dash: [6, 4] },
];
const FULL: Series = { label: "full tuning, best on dev", color: "--series-3", dash: [10, 4] };

/** The mean dev score of full tuning, over the runs in Results; `undefined` if there are none. */
function useFull(model: string, task: string): number | undefined {
  return useMemo(
    () => records()?.scoreAgainstCount({ model, task, split: "dev" }).full[0]?.mean,
    [edition.value, model, task],
  );
}

/** The charts. */
export function Charts() {
  const l = live.value;
  const steps = l?.spec.train.steps ?? spec.value.train.steps;
  const full = useFull(l?.spec.model ?? spec.value.model, l?.spec.task.name ?? spec.value.task.name);
  const lossNow = l?.losses.at(-1);
  const devNow = l?.devScores.at(-1);
  // The chance levels span the whole axis, even before an evaluation.
  const at = l ? [0, ...l.evalSteps, ...(l.evalSteps.at(-1) === steps ? [] : [steps])] : [];
  const dev = at.map((step) => l?.devScores[l.evalSteps.indexOf(step)] ?? null);
  return (
    <div class="charts">
      <Chart
        title="Training loss"
        says={lossNow === undefined ? "" : `${loss(lossNow)} at step ${count(l?.steps.at(-1) ?? 0)}`}
        lines={LOSS}
        data={l ? [l.steps, l.losses] : [[], []]}
        show={loss}
        tick={String}
        steps={steps}
      />
      <Chart
        title={`Dev ${metricTitle(l?.task.metric)}`}
        says={devNow === undefined ? "" : `${percent(devNow)} at step ${count(l?.evalSteps.at(-1) ?? 0)}`}
        lines={full === undefined ? DEV : [...DEV, FULL]}
        data={[
          at,
          dev,
          at.map(() => l?.task.uniform_guess ?? null),
          at.map(() => l?.task.majority_guess ?? null),
          ...(full === undefined ? [] : [at.map(() => full)]),
        ]}
        show={percent}
        tick={(share) => `${Math.round(share * 100)} %`}
        steps={steps}
      />
    </div>
  );
}

/** Follows the light or dark scheme, so that canvases are redrawn in its colours. */
function useScheme(): boolean {
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setDark(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  return dark;
}
