// The curves of a run: loss and dev score against steps.

import { loss, percent } from "../../format";
import { records } from "../../records/records";
import type { Row } from "../../wasm/view";
import { PlotFigure } from "../figures/plot";

/** Loss and dev score of a run against its steps. */
export function Curves({ row }: { row: Row }) {
  const [curve] = records()?.curves([row.key], 0) ?? [];
  if (!curve || (curve.points.length === 0 && curve.dev.length === 0)) return null;
  const last = curve.points.at(-1);
  const best = Math.max(...curve.dev.map((p) => p.value));
  const panels = [
    { title: "Training loss, nats", points: curve.points, says: `falls to ${loss(last?.value)}`, format: "~g" },
    { title: "Score on dev", points: curve.dev, says: `at best ${percent(best)}`, format: "~%" },
  ].filter((panel) => panel.points.length > 0);
  return (
    <div class="curves">
      {panels.map(({ title, points, says, format }) => (
        <div key={title}>
          <h3>{title}</h3>
          <PlotFigure
            says={`${title} ${says}`}
            height={140}
            on={[row.key, points.length]}
            draw={(Plot, width) =>
              Plot.plot({
                width,
                height: 140,
                marginLeft: 44,
                x: { label: "step", ticks: 4, tickFormat: "~s" },
                y: { label: null, grid: true, nice: true, ticks: 4, tickFormat: format },
                marks: [
                  Plot.lineY(points, { x: "step", y: "value", stroke: "var(--series-1)", marker: points.length < 30 ? "dot" : "none" }),
                  Plot.tip(points, Plot.pointerX({ x: "step", y: "value" })),
                ],
              })
            }
          />
        </div>
      ))}
    </div>
  );
}
