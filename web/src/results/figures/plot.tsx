// An Observable Plot that is redrawn when its data or its width changes, with buttons to export it.

import type * as Plot from "@observablehq/plot";
import { useEffect, useRef, useState } from "preact/hooks";
import { asPng, asSvg, csv } from "./export";
import { save } from "../../storage/save";

type PlotLibrary = typeof Plot;
let library: Promise<PlotLibrary> | undefined;

interface PlotProps {
  /** The figure's content as text, for screen readers. */
  says: string;
  height: number;
  /** Values that the drawing depends on. */
  on: unknown[];
  draw(plot: PlotLibrary, width: number): Element;
  /** The data of the figure as a table; adds buttons that save the figure under `name`. */
  data?: { name: string; rows: Record<string, unknown>[] };
  /** A point was clicked. */
  pick?(datum: unknown): void;
}

/** A figure drawn by Observable Plot. */
export function PlotFigure({ says, height, on, draw, data, pick }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);

  useEffect(() => {
    const at = place.current;
    if (!at) return;
    const watch = new ResizeObserver(() => setWidth(Math.floor(at.clientWidth)));
    watch.observe(at);
    return () => watch.disconnect();
  }, []);

  useEffect(() => {
    if (width === 0) return;
    let gone = false;
    library ??= import("@observablehq/plot");
    void library.then((plot) => {
      if (gone) return;
      const drawn = draw(plot, width) as Element & { value?: unknown };
      drawn.addEventListener("click", () => {
        if (pick && drawn.value != null) pick(drawn.value);
      });
      place.current?.replaceChildren(drawn);
    });
    return () => {
      gone = true;
    };
  }, [width, ...on]);

  // The text replaces the drawing for screen readers; the many labelled parts are for the eye.
  return (
    <>
      <div class={`plot ${pick ? "leads" : ""}`} role="img" aria-label={says} style={{ minHeight: `${height}px` }}>
        <div ref={place} aria-hidden="true" />
      </div>
      {data && (
        <p class="saves">
          <button type="button" class="quiet" onClick={() => save(`${data.name}.csv`, "text/csv", csv(data.rows))}>
            CSV
          </button>
          <button
            type="button"
            class="quiet"
            onClick={() => place.current && save(`${data.name}.svg`, "image/svg+xml", asSvg(place.current))}
          >
            SVG
          </button>
          <button
            type="button"
            class="quiet"
            onClick={() => place.current && void asPng(place.current).then((png) => save(`${data.name}.png`, "image/png", png))}
          >
            PNG
          </button>
        </p>
      )}
    </>
  );
}
