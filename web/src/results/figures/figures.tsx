// The figures: loss curves on one side, what was chosen of the others on the other. They are of the runs that the table shows.

import type { ComponentType } from "preact";
import { inAddress } from "../../route";
import { Copy } from "../copy";
import { lab } from "../../records/lab";
import { ConvergenceFigure, TradeFigure } from "./trade-figure";
import { ApartFigure, PlacementFigure, SpreadFigure } from "./scale-figure";
import { LossFigure } from "./loss-figure";
import { ParallelFigure } from "./parallel-figure";
import { ScoreFigure } from "./score-figure";
import { server } from "../../records/server";
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

const chosen = () => KINDS[show.value] ?? KINDS["score"]!;

/** The address with the figure alone, or without that. */
function address(isAlone: boolean): string {
  const [place = "", query = ""] = location.href.split("?");
  const params = new URLSearchParams(query);
  if (isAlone) params.set("alone", "yes");
  else params.delete("alone");
  return `${place}?${params}`;
}

/** The chosen figure and nothing else, with a way to all of it. */
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
              {Object.entries(KINDS).map(([name, { title }]) => (
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
                  ? "An address of the figure alone"
                  : "An address of the figure alone; apet serve lets no other page hold it, the folder of cargo xtask site does"
              }
            />
          )}
        </div>
        <kind.Figure />
      </section>
    </div>
  );
}
