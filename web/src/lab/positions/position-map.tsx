// The positions of the trained parameters: the model as blocks and their parts, drawn to scale. A part opens its matrices;
// after a run it shows how far its parameters moved; and candidates can be chosen on it, by pointer or keyboard.

import { useEffect, useRef, useState } from "preact/hooks";
import { spec } from "../choices";
import { plan } from "../run/state";
import { Blocks } from "./blocks";
import { Matrices } from "./matrices";
import { useMoved } from "./moved";
import { drawn, TITLES, type Block } from "./parts";
import { PoolEditor } from "./pool-editor";

/** The map, in a collapsed section. */
export function PositionMap() {
  const blocks = plan.value?.theta?.blocks ?? [];
  const tuned = blocks.filter(([, , tuned]) => tuned > 0);
  const [look, setLook] = useState<{ block: Block; part: string } | undefined>(undefined);
  useMoved();
  const from = useRef<Element | null>(null);
  const { model, method } = spec.value;
  // The chosen parts belong to one model, and to APET.
  useEffect(() => void (drawn.value = undefined), [model, method.name]);
  if (tuned.length === 0 && !drawn.value) {
    return (
      <details class="positions">
        <summary>Parameter positions</summary>
        <p class="hint">{plan.value?.theta ? "No parameter of the model itself is trained." : "Available once the parameters are counted."}</p>
        {method.name === "apet" && method.pool.sites !== undefined && <PoolEditor blocks={blocks} />}
      </details>
    );
  }
  const isPoolEditor = drawn.value !== undefined;
  const parts = Object.keys(TITLES).filter((part) =>
    isPoolEditor ? blocks.some(([, of, , all]) => of === part && all > 0) : tuned.some(([, of]) => of === part),
  );
  const all = [...new Set(blocks.map(([block]) => block))];
  const shown = isPoolEditor ? all : all.filter((block) => tuned.some(([b]) => b === block));
  return (
    <details class="positions">
      <summary>Parameter positions</summary>
      <Blocks
        blocks={blocks}
        parts={parts}
        shown={shown}
        look={(block, part) => {
          from.current = document.activeElement;
          setLook({ block, part });
        }}
      />
      {method.name === "apet" && <PoolEditor blocks={blocks} />}
      {look && !isPoolEditor && tuned.some(([b, p]) => b === look.block && p === look.part) && (
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
