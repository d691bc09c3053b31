// Loss curves of the selected runs, one over the other.

import { signal } from "@preact/signals";
import { HEIGHT } from "./choice";
import { longName } from "./found";
import { edition, records, rows, selected } from "./records";
import { PlotFigure } from "./plot";

const smoothing = signal(0);
const logarithmic = signal(false);

export function LossFigure() {
  const keys = [...selected.value.keys()];
  const curves = keys.length > 0 ? (records()?.curves(keys, smoothing.value) ?? []) : [];
  const colour = (key: string) => `var(--series-${(selected.value.get(key) ?? 0) + 1})`;
  const names = new Map(rows.value.map((r) => [r.key, longName(r)]));
  const points = curves.flatMap((c) => c.points.map((p) => ({ ...p, key: c.key, name: names.get(c.key) ?? c.name })));
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
          Select runs in the table to lay their loss curves over each other.
        </p>
      ) : (
        <>
          <PlotFigure
            says={`Training loss against step of ${curves.map((c) => names.get(c.key) ?? c.name).join(", ")}`}
            height={HEIGHT}
            on={[edition.value, selected.value, smoothing.value, logarithmic.value]}
            data={{ name: "loss", rows: points.map(({ key: _, ...point }) => point) }}
            draw={(Plot, width) =>
              Plot.plot({
                width,
                height: HEIGHT,
                marginLeft: 48,
                x: { label: "step", tickFormat: "~s", ticks: Math.min(8, width / 70) },
                y: { label: "loss, nats", grid: true, nice: true, ...(logarithmic.value && { type: "log", tickFormat: "~g" }) },
                marks: [
                  ...curves.map((c) =>
                    Plot.lineY(c.points, { x: "step", y: "value", stroke: colour(c.key), strokeWidth: 1.5 }),
                  ),
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
          <p class="keys">
            {curves.map((c) => (
              <span key={c.key}>
                <i style={{ borderColor: colour(c.key) }} />
                {names.get(c.key) ?? c.name}
              </span>
            ))}
          </p>
        </>
      )}
    </section>
  );
}
