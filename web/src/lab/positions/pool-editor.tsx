// Chooses the parts from which parameters are selected, on the position map.

import { count } from "../../format";
import { MODULES } from "../../spec";
import type { PositionBlock } from "../../wasm/protocol";
import { change, POOL, spec } from "../choices";
import { describe, positions } from "../run/questions";
import { busy } from "../run/state";
import { drawn, key } from "./parts";

/** The buttons to choose parts. */
export function PoolEditor({ blocks }: { blocks: PositionBlock[] }) {
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
    // Full tuning of the pool covers all its candidates.
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
          Choose where
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
            Reset the choice
          </button>
        )}
      </p>
    );
  return (
    <p class="buttons">
      <button type="button" class="primary" disabled={total === 0} onClick={() => void use()}>
        Choose among these {count(total)}
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
