// The loss curves of the selected runs.

import { signal } from "@preact/signals";
import { HEIGHT } from "./choice";
import { longName } from "../table/found";
import { edition, records, rows } from "../../records/records";
import { selected } from "../../records/selection";
import { PlotFigure } from "./plot";

const smoothing = signal(0);
const logarithmic = signal(false);

/** The names of runs, made unique if two runs have the same name. */
function namesOf(keys: string[]): Map<string, string> {
  const chosen = rows.value.filter((r) => keys.includes(r.key));
  const of = chosen.map(longName);
  const isShared = (name: string) => of.filter((other) => other === name).length > 1;
  return new Map(
    chosen.map((r, i) => {
      const name = of[i] ?? r.name;
      return [r.key, isShared(name) ? `${name} ${r.run.slice(0, 8)} ${r.host}` : name];
    }),
  );
}

/** The figure of loss curves. */
export function LossFigure() {
  const keys = [...selected.value.keys()];
  const curves = keys.length > 0 ? (records()?.curves(keys, smoothing.value) ?? []) : [];
  const colour = (key: string) => `var(--series-${(selected.value.get(key) ?? 0) + 1})`;
  const names = namesOf(keys);
  const points = curves.flatMap((c) => c.points.map((p) => ({ ...p, key: c.key, name: names.get(c.key) ?? c.name })));
  const alone = curves.flatMap((c) => (c.points.length === 1 ? points.filter((p) => p.key === c.key) : []));
  return (
    <section class="figure" aria-labelledby="loss-title">
      <div class="bar">
        <h2 id="loss-title">Training loss</h2>
        <label class="inline">
          <input
            type="checkbox"
            checked={logarithmic.value}
            onChange={(e) => (logarithmic.value = e.currentTarget.checked)}
          />
          <span>Log</span>
        </label>
        <label class="slider">
          <span>Smoothing</span>
          <input
            type="range"
            min="0"
            max="0.98"
            step="0.02"
            value={smoothing.value}
            onInput={(e) => (smoothing.value = Number(e.currentTarget.value))}
          />
        </label>
      </div>
      {points.length === 0 ? (
        <p class="empty" style={{ minHeight: `${HEIGHT}px` }}>
          {keys.length === 0
            ? "Select runs in the table to compare their loss curves."
            : "The selected runs have no losses: tables and results of other programs contain only scores."}
        </p>
      ) : (
        <PlotFigure
          says={`Training loss against step of ${curves.map((c) => names.get(c.key) ?? c.name).join(", ")}`}
          height={HEIGHT}
          on={[edition.value, selected.value, smoothing.value, logarithmic.value]}
          data={{
            name: "loss",
            rows: points.map(({ key, name, step, value }) => ({
              run: key,
              name,
              step,
              [smoothing.value > 0 ? "loss_smoothed" : "loss"]: value,
            })),
          }}
          draw={(Plot, width) =>
            Plot.plot({
              width,
              height: HEIGHT,
              marginLeft: 48,
              x: { label: "step", tickFormat: "~s", ticks: Math.min(8, width / 70) },
              y: { label: "loss, nats", grid: true, nice: true, ...(logarithmic.value && { type: "log", tickFormat: "~g" }) },
              color: {
                type: "categorical",
                domain: curves.map((c) => names.get(c.key) ?? c.name),
                range: curves.map((c) => colour(c.key)),
                legend: true,
              },
              marks: [
                Plot.lineY(points, { x: "step", y: "value", z: "key", stroke: "name", strokeWidth: 1.5 }),
                Plot.dot(alone, { x: "step", y: "value", stroke: "name", r: 3 }),
                Plot.tip(
                  points,
                  Plot.pointer({
                    x: "step",
                    y: "value",
                    title: (p: (typeof points)[number]) => `${p.name}\nstep ${p.step}\nloss ${p.value.toFixed(3)}`,
                  }),
                ),
              ],
            })
          }
        />
      )}
    </section>
  );
}
