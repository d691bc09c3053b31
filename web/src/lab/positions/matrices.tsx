// The matrices of a part, each as a grid of counts.

import { useEffect, useRef, useState } from "preact/hooks";
import { count } from "../../format";
import type { PositionGrid } from "../../wasm/protocol";
import { spec } from "../choices";
import { positions } from "../run/questions";
import { plan } from "../run/state";
import { TITLES, type Block } from "./parts";

/** The number of rows and columns of a matrix's grid. */
const CELLS = 32;

/** The matrices of a part of a block. */
export function Matrices({ block, part, close }: { block: Block; part: string; close(): void }) {
  const [grids, setGrids] = useState<PositionGrid[] | undefined>(undefined);
  const text = JSON.stringify(spec.value);
  const counted = plan.value;
  useEffect(() => {
    setGrids(undefined);
    // Only the loaded model has positions.
    if (counted?.model.name !== spec.value.model) return;
    let gone = false;
    void positions(text, CELLS)
      .then((found) => {
        if (!gone) setGrids(found.grids.filter((g) => g.block === block && g.part === part));
      })
      .catch(() => {
        if (!gone) setGrids([]);
      });
    return () => {
      gone = true;
    };
  }, [text, counted, block, part]);
  return (
    <section class="matrices" aria-label={`${TITLES[part]}, block ${block === null ? "none" : block + 1}`}>
      <div class="bar">
        <h3>
          {TITLES[part]}
          {block !== null && `, block ${block + 1}`}
        </h3>
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </div>
      {grids?.length === 0 && <p class="hint">The trained parameters here are not part of a matrix: they are added next to it.</p>}
      {grids?.map((grid) => (
        <Matrix key={grid.site} grid={grid} />
      ))}
    </section>
  );
}

function Matrix({ grid }: { grid: PositionGrid }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [rows, columns] = grid.cells;
  const [tall, wide] = grid.shape;
  const total = grid.counts.reduce((a, b) => a + b, 0);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !canvas.current) return;
    const style = getComputedStyle(canvas.current);
    const most = Math.max(1, ...grid.counts);
    context.clearRect(0, 0, columns, rows);
    context.fillStyle = style.getPropertyValue("--accent");
    grid.counts.forEach((n, i) => {
      context.globalAlpha = n / most;
      context.fillRect(i % columns, Math.floor(i / columns), 1, 1);
    });
  }, [grid]);
  const says = `${grid.site}, ${tall} x ${wide}: ${count(total)} trained of ${count(tall * wide)}`;
  return (
    <figure>
      <canvas ref={canvas} width={columns} height={rows} role="img" aria-label={says} />
      <figcaption>
        <span>{says}</span>
      </figcaption>
    </figure>
  );
}
