// The figures: loss curves on one side, what was chosen of the others on the other. They are of the runs that the table shows.

import type { ComponentType } from "preact";
import { inAddress } from "../route";
import { ConvergenceFigure, TradeFigure } from "./trade-figure";
import { ApartFigure, PlacementFigure, SpreadFigure } from "./scale-figure";
import { LossFigure } from "./loss-figure";
import { ParallelFigure } from "./parallel-figure";
import { ScoreFigure } from "./score-figure";
import { ThresholdFigure } from "./threshold-figure";

interface Kind {
  title: string;
  Figure: ComponentType;
}

const KINDS: Record<string, Kind> = {
  score: { title: "Score against parameters", Figure: ScoreFigure },
  spread: { title: "Spread across methods", Figure: SpreadFigure },
  apart: { title: "Distance from APET", Figure: ApartFigure },
  placements: { title: "Spread across placements", Figure: PlacementFigure },
  thresholds: { title: "Thresholds of APET", Figure: ThresholdFigure },
  convergence: { title: "Convergence", Figure: ConvergenceFigure },
  trade: { title: "Score against cost", Figure: TradeFigure },
  parallel: { title: "Parallel coordinates", Figure: ParallelFigure },
};

const show = inAddress("results", "show", "score");

export function Figures() {
  const kind = KINDS[show.value] ?? KINDS["score"]!;
  return (
    <div class="figures">
      <LossFigure />
      <section class="figure" aria-labelledby="figure-title">
        <div class="bar">
          <h2 id="figure-title">{kind.title}</h2>
          <label class="inline">
            <span>Figure</span>
            <select value={show.value} onChange={(e) => (show.value = e.currentTarget.value)}>
              {Object.entries(KINDS).map(([name, { title }]) => (
                <option key={name} value={name} selected={kind.title === title}>
                  {title}
                </option>
              ))}
            </select>
          </label>
        </div>
        <kind.Figure />
      </section>
    </div>
  );
}
