// Where the tuned parameters lie: the model as blocks and their parts, drawn to scale. A part can be looked into, matrix by
// matrix; after a run it says how far its values moved; and a pool can be drawn on it, with the pointer or the keyboard.

import { useEffect, useRef, useState } from "preact/hooks";
import { spec } from "../choices";
import { plan } from "../run/state";
import { Blocks } from "./blocks";
import { Matrices } from "./matrices";
import { useMoved } from "./moved";
import { drawn, TITLES, type Block } from "./parts";
import { Drawing } from "./pool-editor";

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
