// Where the tuned parameters lie: the model as blocks and their parts, drawn to scale. A part can be looked into, matrix by
// matrix; after a run it says how far its values moved; and a pool can be drawn on it, with the pointer or the keyboard.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { compact, count, percent, rough } from "../../format";
import { records, rows } from "../../records/records";
import { MODULES } from "../../spec";
import { readTheta, recordName } from "../../storage/runs";
import { change, POOL, spec } from "../choices";
import { live } from "../run/live";
import type { PositionBlock, PositionGrid } from "../../wasm/protocol";
import { busy, plan } from "../run/state";
import { describe, moved, positions } from "../run/questions";

const TITLES: Record<string, string> = {
  query: "Query",
  key: "Key",
  value: "Value",
  output: "Output",
  ffn_in: "FFN in",
  ffn_gate: "FFN gate",
  ffn_out: "FFN out",
  norm: "Norm",
  bias: "Bias",
  embedding: "Embedding",
  pooler: "Pooler",
  lm_head: "Head of the model",
  after_attention: "After attention",
  after_ffn: "After FFN",
  prompt: "Prompt",
};
/** Side of the grid in which a matrix is shown. */
const CELLS = 32;

type Block = PositionBlock[0];
const key = (block: Block, part: string) => `${block}|${part}`;

/** The parts that are drawn as a pool; nothing where none is being drawn. */
const drawn = signal<ReadonlySet<string> | undefined>(undefined);
/** How far each part moved in the last run, where it is of this form. */
const lengths = signal<ReadonlyMap<string, number> | undefined>(undefined);

export function PositionMap() {
  const blocks = plan.value?.theta?.blocks ?? [];
  const tuned = blocks.filter(([, , tuned]) => tuned > 0);
  const [look, setLook] = useState<{ block: Block; part: string } | undefined>(undefined);
  useMoved();
  const from = useRef<Element | null>(null);
  const { model, method } = spec.value;
  // What was drawn is of one model, and of APET.
  useEffect(() => void (drawn.value = undefined), [model, method.name]);
  if (tuned.length === 0 && !drawn.value) {
    return (
      <details class="positions">
        <summary>Where they lie</summary>
        <p class="hint">{plan.value?.theta ? "Nothing of the model itself is tuned." : "Known once they are counted."}</p>
        {method.name === "apet" && method.pool.sites !== undefined && <Drawing blocks={blocks} />}
      </details>
    );
  }
  const isDrawing = drawn.value !== undefined;
  const parts = Object.keys(TITLES).filter((part) =>
    isDrawing ? blocks.some(([, of, , all]) => of === part && all > 0) : tuned.some(([, of]) => of === part),
  );
  const all = [...new Set(blocks.map(([block]) => block))];
  const shown = isDrawing ? all : all.filter((block) => tuned.some(([b]) => b === block));
  return (
    <details class="positions">
      <summary>Where they lie</summary>
      <Blocks
        blocks={blocks}
        parts={parts}
        shown={shown}
        look={(block, part) => {
          from.current = document.activeElement;
          setLook({ block, part });
        }}
      />
      {method.name === "apet" && <Drawing blocks={blocks} />}
      {look && !isDrawing && tuned.some(([b, p]) => b === look.block && p === look.part) && (
        <Matrices
          {...look}
          close={() => {
            setLook(undefined);
            if (from.current instanceof HTMLElement) from.current.focus();
          }}
        />
      )}
    </details>
  );
}

interface BlocksProps {
  blocks: PositionBlock[];
  parts: string[];
  shown: Block[];
  look(block: Block, part: string): void;
}

function Blocks({ blocks, parts, shown, look }: BlocksProps) {
  const most = Math.max(1, ...blocks.map(([, , n]) => n));
  const inSight = blocks.filter(([b, p, n]) => parts.includes(p) && shown.includes(b) && (drawn.value || n > 0));
  const largest = Math.max(1, ...inSight.map(([, , , all]) => all));
  const farthest = Math.max(1e-12, ...(lengths.value?.values() ?? []));
  const at = (block: Block, part: string) => blocks.find(([b, p]) => b === block && p === part);
  const paint = useRef<boolean | undefined>(undefined);
  useEffect(() => {
    const end = () => (paint.current = undefined);
    addEventListener("pointerup", end);
    return () => removeEventListener("pointerup", end);
  }, []);
  const set = (block: Block, part: string, on: boolean) => {
    const next = new Set(drawn.value);
    if (on) next.add(key(block, part));
    else next.delete(key(block, part));
    drawn.value = next;
  };
  const walk = (e: KeyboardEvent) => {
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
    const from = (e.target as HTMLElement).dataset;
    if (!by || from["row"] === undefined) return;
    const [down = 0, right = 0] = by;
    const to = `[data-row="${Number(from["row"]) + down}"][data-column="${Number(from["column"]) + right}"]`;
    (e.currentTarget as HTMLElement).querySelector<HTMLElement>(to)?.focus();
    e.preventDefault();
  };
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label="Where the tuned parameters lie">
        <table onKeyDown={walk} class={drawn.value ? "drawing" : ""}>
          <thead>
            <tr>
              <th scope="col">Block</th>
              {parts.map((part) => (
                <th key={part} scope="col">
                  {TITLES[part]}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((block, row) => (
              <tr key={String(block)}>
                <th scope="row">{block === null ? "none" : block + 1}</th>
                {parts.map((part, column) => {
                  const of = at(block, part);
                  const [, , tuned = 0, all = 0] = of ?? [];
                  const length = lengths.value?.get(key(block, part));
                  const isIn = drawn.value?.has(key(block, part));
                  if (!of || (drawn.value ? all === 0 : tuned === 0)) return <td key={part}>–</td>;
                  // The box is as large as the part, on a scale of areas; its colour says how many of it are tuned, or how
                  // far they moved, on a scale of logarithms for counts.
                  const side = drawn.value || all === 0 ? 1 : Math.sqrt(all / largest);
                  const depth = length !== undefined ? length / farthest : Math.log1p(tuned) / Math.log1p(most);
                  const where = `${TITLES[part]}, block ${block === null ? "none" : block + 1}`;
                  const share = all > 0 ? `${count(tuned)} of ${count(all)}, ${percent(tuned / all)}` : count(tuned);
                  const text = drawn.value ? compact(all) : length !== undefined ? rough(length) : compact(tuned);
                  // What is seen is part of what is said.
                  const says = `${where}: ${text}; ${share}${length === undefined ? "" : `; moved by ${rough(length)}`}`;
                  return (
                    <td key={part}>
                      <button
                        type="button"
                        title={says}
                        aria-label={says}
                        aria-pressed={drawn.value ? isIn : undefined}
                        class={isIn ? "in" : ""}
                        style={{ "--side": `${Math.max(12, 100 * side)}%`, "--depth": `${Math.round(60 * depth)}%` }}
                        data-row={row}
                        data-column={column}
                        onPointerDown={(e) => {
                          if (!drawn.value) return;
                          // A finger holds what it began on, which may be what is in the box.
                          (e.target as Element).releasePointerCapture(e.pointerId);
                          paint.current = !isIn;
                          set(block, part, !isIn);
                        }}
                        onPointerEnter={() => {
                          if (drawn.value && paint.current !== undefined) set(block, part, paint.current);
                        }}
                        onClick={(e) => {
                          if (!drawn.value) look(block, part);
                          // The pointer has painted; what has no pointer is the keyboard.
                          else if (e.detail === 0) set(block, part, !isIn);
                        }}
                      >
                        <span>{text}</span>
                      </button>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="hint">
        {drawn.value
          ? "Choose parts: with the pointer, also dragged over several, or with the arrow keys and Space."
          : `Boxes are as large as the parts.${lengths.value ? " Numbers and colour: how far the last run moved them." : " Numbers and colour: how many are tuned."} A box shows its matrices.`}
      </p>
    </>
  );
}

/** Draws a pool, and makes it the form's. */
function Drawing({ blocks }: { blocks: PositionBlock[] }) {
  const chosen = drawn.value;
  const total = blocks.filter(([b, p]) => chosen?.has(key(b, p))).reduce((sum, [, , , all]) => sum + all, 0);
  const use = async () => {
    const every = { ...spec.value, method: { name: "full" as const } };
    const { grids } = await positions(JSON.stringify(every), 1);
    const names = grids.filter((g) => chosen?.has(key(g.block, g.part))).map((g) => g.site);
    if (names.length === 0) return;
    const escaped = names.map((n) => n.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    change((s) => {
      if (s.method.name !== "apet") return;
      s.method.pool = { modules: [...MODULES], sites: `^(${escaped.join("|")})$` };
      if (typeof s.method.count === "number") s.method.count = Math.min(s.method.count, total);
    });
    drawn.value = undefined;
  };
  const begin = async () => {
    const { method } = spec.value;
    if (method.name !== "apet") return;
    // Full tuning of the pool is all that can be drawn from.
    const whole = { ...spec.value, method: { name: "full", pool: method.pool } };
    const { blocks: of } = await describe(JSON.stringify(whole)).catch(() => ({ blocks }));
    drawn.value = new Set(of.filter(([, , n]) => n > 0).map(([b, p]) => key(b, p)));
  };
  const { method } = spec.value;
  const hasSites = method.name === "apet" && method.pool.sites !== undefined;
  if (!chosen)
    return (
      <p class="buttons">
        <button
          type="button"
          class="quiet"
          disabled={busy.value || blocks.length === 0}
          onClick={() => void begin()}
        >
          Draw a pool
        </button>
        {hasSites && (
          <button
            type="button"
            class="quiet"
            disabled={busy.value}
            onClick={() =>
              change((s) => {
                if (s.method.name === "apet") s.method.pool = { modules: POOL };
              })
            }
          >
            Remove the drawn pool
          </button>
        )}
      </p>
    );
  return (
    <p class="buttons">
      <button type="button" class="primary" disabled={total === 0} onClick={() => void use()}>
        Draw from these {count(total)}
      </button>
      <button type="button" class="quiet" onClick={() => (drawn.value = new Set())}>
        Clear
      </button>
      <button type="button" class="quiet" onClick={() => (drawn.value = undefined)}>
        Cancel
      </button>
    </p>
  );
}

/** The matrices of a part, each as a grid of counts. */
function Matrices({ block, part, close }: { block: Block; part: string; close(): void }) {
  const [grids, setGrids] = useState<PositionGrid[] | undefined>(undefined);
  const text = JSON.stringify(spec.value);
  const counted = plan.value;
  useEffect(() => {
    setGrids(undefined);
    // Only of the model that is loaded can be asked.
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
      {grids?.length === 0 && <p class="hint">What is tuned here is no part of a matrix: it is added beside it.</p>}
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
  const says = `${grid.site}, ${tall} x ${wide}: ${count(total)} tuned of ${count(tall * wide)}`;
  return (
    <figure>
      <canvas ref={canvas} width={columns} height={rows} role="img" aria-label={says} />
      <figcaption>
        <span>{says}</span>
      </figcaption>
    </figure>
  );
}

/** Reads how far the run on the screen moved its values, once it is done and the form is still its own. */
function useMoved(): void {
  const run = live.value;
  const isDone = run?.summary !== undefined && !busy.value;
  const text = JSON.stringify(spec.value);
  useEffect(() => {
    lengths.value = undefined;
    const row = isDone && rows.value.find((r) => r.run === run?.run && r.source === "tab");
    if (!row || !run || run.spec.model !== spec.value.model) return;
    // Rust writes a spec with its defaults; the form leaves them out.
    const { method, seeds } = spec.value;
    const names = ["placement", "batches", "init"] as const;
    if (run.spec.method.name !== method.name || names.some((n) => run.spec.seeds[n] !== seeds[n])) return;
    let gone = false;
    void (async () => {
      const theta = await readTheta(recordName(row));
      const of = records()?.spec(row.key);
      if (!theta || !of) return;
      const found = await moved(of, new Uint8Array(await theta.arrayBuffer()));
      if (!gone) lengths.value = new Map(found.map(([b, p, length]) => [key(b, p), length]));
    })().catch(() => {});
    return () => {
      gone = true;
    };
  }, [isDone, run?.run, text]);
}
