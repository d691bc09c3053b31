// The figures of the table's runs: loss curves on the left, the chosen figure on the right.

import type { ComponentType } from "preact";
import { inAddress } from "../../route";
import { Copy } from "../copy";
import { lab } from "../../records/lab-actions";
import { ConvergenceFigure, TradeFigure } from "./trade-figure";
import { DistanceFigure, PlacementFigure, SpreadFigure } from "./scale-figure";
import { LossFigure } from "./loss-figure";
import { ParallelFigure } from "./parallel-figure";
import { ScoreFigure } from "./score-figure";
import { server } from "../../records/server";
import { ThresholdFigure } from "./threshold-figure";

interface FigureKind {
  title: string;
  Figure: ComponentType;
}

const FIGURES: Record<string, FigureKind> = {
  score: { title: "Score against parameters", Figure: ScoreFigure },
  spread: { title: "Spread across methods", Figure: SpreadFigure },
  apart: { title: "Distance from APET", Figure: DistanceFigure },
  placements: { title: "Spread across placements", Figure: PlacementFigure },
  thresholds: { title: "Thresholds of APET", Figure: ThresholdFigure },
  convergence: { title: "Convergence", Figure: ConvergenceFigure },
  trade: { title: "Score against cost", Figure: TradeFigure },
  parallel: { title: "Parallel coordinates", Figure: ParallelFigure },
};

const show = inAddress("results", "show", "score");

const chosen = () => FIGURES[show.value] ?? FIGURES["score"]!;

/** The address of the page, or of the figure alone. */
function address(isAlone: boolean): string {
  const [place = "", query = ""] = location.href.split("?");
  const params = new URLSearchParams(query);
  if (isAlone) params.set("alone", "yes");
  else params.delete("alone");
  return `${place}?${params}`;
}

/** Only the chosen figure, with a link to the whole page. */
export function FigureAlone() {
  const kind = chosen();
  return (
    <section class="figure" aria-labelledby="figure-title">
      <h1 id="figure-title">{kind.title}</h1>
      <kind.Figure />
      <p class="hint">
        <a href={address(false)} target="_blank" rel="noopener">
          Open in APET Lab
        </a>
      </p>
    </section>
  );
}

/** The loss curves and the chosen figure. */
export function Figures() {
  const kind = chosen();
  return (
    <div class="figures">
      <LossFigure />
      <section class="figure" aria-labelledby="figure-title">
        <div class="bar">
          <h2 id="figure-title">{kind.title}</h2>
          <label class="inline">
            <span>Figure</span>
            <select value={show.value} onChange={(e) => (show.value = e.currentTarget.value)}>
              {Object.entries(FIGURES).map(([name, { title }]) => (
                <option key={name} value={name} selected={kind.title === title}>
                  {title}
                </option>
              ))}
            </select>
          </label>
          {lab.value && (
            <Copy
              title="Copy embed link"
              text={() => address(true)}
              hint={
                server.value === "none"
                  ? "The address of this figure alone"
                  : "The address of this figure alone; apet serve does not allow embedding, the folder made by cargo xtask site does"
              }
            />
          )}
        </div>
        <kind.Figure />
      </section>
    </div>
  );
}
