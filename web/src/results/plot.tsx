// A place for an Observable Plot, drawn again when its data or its width change.

import type * as Plot from "@observablehq/plot";
import { useEffect, useRef, useState } from "preact/hooks";

type PlotLibrary = typeof Plot;
let library: Promise<PlotLibrary> | undefined;

interface Props {
  /** What the figure shows, in words. */
  says: string;
  height: number;
  /** Things the drawing depends on. */
  on: unknown[];
  draw(plot: PlotLibrary, width: number): Element;
}

export function PlotFigure({ says, height, on, draw }: Props) {
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
      if (!gone) place.current?.replaceChildren(draw(plot, width));
    });
    return () => {
      gone = true;
    };
  }, [width, ...on]);

  // The words stand for the drawing; its many labelled parts are for the eye.
  return (
    <div class="plot" role="img" aria-label={says} style={{ minHeight: `${height}px` }}>
      <div ref={place} aria-hidden="true" />
    </div>
  );
}
