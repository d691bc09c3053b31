// The model as a table of blocks and their parts, drawn to scale; a part can be opened, or chosen as candidates.

import { useEffect, useRef } from "preact/hooks";
import { compact, count, percent, rough } from "../../format";
import type { PositionBlock } from "../../wasm/protocol";
import { drawn, key, lengths, TITLES, type Block } from "./parts";

interface BlocksProps {
  blocks: PositionBlock[];
  parts: string[];
  shown: Block[];
  look(block: Block, part: string): void;
}

/** The table of blocks. */
export function Blocks({ blocks, parts, shown, look }: BlocksProps) {
  const most = Math.max(1, ...blocks.map(([, , n]) => n));
  const visible = blocks.filter(([b, p, n]) => parts.includes(p) && shown.includes(b) && (drawn.value || n > 0));
  const largest = Math.max(1, ...visible.map(([, , , all]) => all));
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
      <div class="scroll" tabIndex={0} role="region" aria-label="Positions of the trained parameters">
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
                  // The area of the box is proportional to the part's size; its colour shows how many of its parameters
                  // are trained, on a log scale, or how far they moved.
                  const side = drawn.value || all === 0 ? 1 : Math.sqrt(all / largest);
                  const depth = length !== undefined ? length / farthest : Math.log1p(tuned) / Math.log1p(most);
                  const where = `${TITLES[part]}, block ${block === null ? "none" : block + 1}`;
                  const share = all > 0 ? `${count(tuned)} of ${count(all)}, ${percent(tuned / all)}` : count(tuned);
                  const text = drawn.value ? compact(all) : length !== undefined ? rough(length) : compact(tuned);
                  // The visible text is part of the accessible name.
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
                          // Touch captures the element it started on, which may be inside the box.
                          (e.target as Element).releasePointerCapture(e.pointerId);
                          paint.current = !isIn;
                          set(block, part, !isIn);
                        }}
                        onPointerEnter={() => {
                          if (drawn.value && paint.current !== undefined) set(block, part, paint.current);
                        }}
                        onClick={(e) => {
                          if (!drawn.value) look(block, part);
                          // The pointer has already painted; a click without a pointer is the keyboard.
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
          ? "Choose parts: click, drag over several, or use the arrow keys and Space."
          : `The area of a box is the size of the part.${lengths.value ? " Numbers and colour: how far the last run moved it." : " Numbers and colour: how many parameters are trained."} Click a box to see its matrices.`}
      </p>
    </>
  );
}
