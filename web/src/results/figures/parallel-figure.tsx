// Parallel coordinates: each run is a line through its settings and scores.

import { compact, duration, methodTitle, percent } from "../../format";
import { colours, Empty, HEIGHT, modelsOf } from "./choice";
import { found } from "../table/found";
import { PlotFigure } from "./plot";
import { opened } from "../../records/selection";
import type { Row } from "../../wasm/view";

/** More lines are hard to distinguish. */
const MOST = 2000;
/** Below this width in pixels, the names of the axes are rotated to fit. */
const NARROW = 460;

interface Axis {
  title: string;
  /** Names are in alphabetical order. */
  value(row: Row): number | string | null;
  log?: boolean;
  show(value: number): string;
}

const AXES: Axis[] = [
  { title: "model", value: (r) => r.parameters, log: true, show: compact },
  { title: "method", value: (r) => methodTitle(r.method), show: String },
  // Head only trains no parameter of the model; on a log axis it is placed below 1.
  { title: "trained", value: (r) => Math.max(0.1, r.count), log: true, show: (x) => (x < 1 ? "0" : compact(x)) },
  { title: "rate", value: (r) => r.learning_rate, log: true, show: (x) => x.toPrecision(1) },
  { title: "steps to 90 %", value: (r) => r.steps_to_90, show: (x) => x.toFixed(0) },
  { title: "time", value: (r) => r.seconds, log: true, show: (x) => duration(x) },
  { title: "dev", value: (r) => r.dev, show: (x) => `${Math.round(100 * x)} %` },
  { title: "test", value: (r) => r.test, show: (x) => `${Math.round(100 * x)} %` },
];

/** The position of a value on its axis, 0 to 1, and the labels of the axis. */
function scale(axis: Axis, rows: Row[]): { at(row: Row): number | null; marks: [at: number, text: string][] } {
  const values = rows.map(axis.value).filter((v) => v !== null);
  const names = [...new Set(values.filter((v) => typeof v === "string"))].sort();
  if (names.length > 0) {
    const at = (i: number) => (names.length > 1 ? i / (names.length - 1) : 0.5);
    return {
      at: (row) => at(names.indexOf(String(axis.value(row)))),
      marks: names.map((n, i) => [at(i), n]),
    };
  }
  const on = (v: number) => (axis.log ? Math.log(Math.max(v, Number.MIN_VALUE)) : v);
  const numbers = values as number[];
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const at = (v: number) => (high > low ? (on(v) - on(low)) / (on(high) - on(low)) : 0.5);
  const middle = axis.log ? Math.exp((on(low) + on(high)) / 2) : (low + high) / 2;
  const marks = numbers.length === 0 ? [] : high > low ? [low, middle, high] : [low];
  return {
    at: (row) => {
      const v = axis.value(row);
      return typeof v === "number" ? at(v) : null;
    },
    marks: marks.map((v) => [at(v), axis.show(v)]),
  };
}

/** The figure of parallel coordinates. */
export function ParallelFigure() {
  const done = found.value.filter((r) => r.test !== null || r.dev !== null).slice(0, MOST);
  if (done.length === 0) return <Empty>Runs with a score appear here, each as a line through its settings.</Empty>;
  const axes = AXES.map((axis) => ({ axis, scale: scale(axis, done) }));
  const points = done.flatMap((row) =>
    axes.flatMap(({ axis, scale }) => {
      const y = scale.at(row);
      return y === null ? [] : [{ row, model: row.model, x: axis.title, y }];
    }),
  );
  const marks = axes.flatMap(({ axis, scale }) => scale.marks.map(([y, text]) => ({ x: axis.title, y, text })));
  type Point = (typeof points)[number];
  const title = ({ row }: Point) =>
    `${row.name}\nrate ${row.learning_rate}, dev ${row.dev === null ? "–" : percent(row.dev)}, test ${row.test === null ? "–" : percent(row.test)}`;
  return (
    <>
      <PlotFigure
        says={`${done.length} runs through ${AXES.map((a) => a.title).join(", ")}`}
        height={HEIGHT}
        on={[found.value]}
        data={{
          name: "runs",
          rows: done.map(({ run, host, device, model, parameters, task, method, count: tuned, learning_rate, steps_to_90, seconds, dev, test }) => ({
            run,
            where: `${host} ${device}`,
            model,
            parameters,
            task,
            method,
            tuned,
            learning_rate,
            steps_to_90,
            seconds,
            dev,
            test,
          })),
        }}
        pick={(p) => (opened.value = (p as Point).row.key)}
        draw={(Plot, width) =>
          Plot.plot({
            width,
            height: HEIGHT,
            marginLeft: 30,
            marginRight: 40,
            marginBottom: 8,
            marginTop: width < NARROW ? 64 : 24,
            x: {
              type: "point",
              domain: AXES.map((a) => a.title),
              label: null,
              axis: "top",
              tickSize: 0,
              tickRotate: width < NARROW ? -45 : 0,
            },
            y: { domain: [0, 1], axis: null },
            color: { ...colours(modelsOf(done)), legend: true },
            marks: [
              Plot.ruleX(AXES, { x: "title", stroke: "var(--edge)" }),
              Plot.line(points, { x: "x", y: "y", z: (p: Point) => p.row.key, stroke: "model", strokeOpacity: Math.max(0.12, Math.min(0.7, 20 / done.length)) }),
              Plot.text(marks, { x: "x", y: "y", text: "text", textAnchor: "start", dx: 4, fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4, fontSize: 10 }),
              Plot.tip(points, Plot.pointer({ x: "x", y: "y", title })),
            ],
          })
        }
      />
      <p class="hint one">{found.value.length > MOST && `The first ${MOST} runs of the table.`}</p>
    </>
  );
}
