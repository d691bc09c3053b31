// What the last steps spent their time with.

import { rough } from "../../format";
import type { Spent } from "../../wasm/protocol";
import { device } from "../choices";
import { live, spent } from "./live";
import { phase } from "./state";

/** What a step's time goes to, each with its colour; the last is waiting for the other threads. */
const PARTS: [keyof Spent, string, string][] = [
  ["forward", "Forward", "var(--series-1)"],
  ["backward", "Backward", "var(--series-2)"],
  ["update", "Update", "var(--series-3)"],
  ["read_back", "Read-back", "var(--series-4)"],
  ["helpers", "Waiting", "var(--ink-2)"],
];

/** What the last steps spent their time with. It has its place before anything is known, so that nothing moves for it. */
export function StepTime() {
  const found = phase.value === "preparing" ? undefined : spent.value;
  const all = found ? PARTS.reduce((sum, [part]) => sum + found[part], 0) : 0;
  const shares = PARTS.map(([part]) => (found && all > 0 ? (100 * found[part]) / all : 0));
  const ms = live.value?.msPerStep;
  let to = 0;
  const stops = PARTS.map(([, , colour], i) => `${colour} ${to}% ${(to += shares[i] ?? 0)}%`);
  return (
    <div class="step-time" data-testid="step-time">
      <dl>
        <div>
          <dt>A step</dt>
          <dd>{all > 0 && ms ? `${rough(ms)} ms` : "–"}</dd>
        </div>
        {PARTS.map(([part, title, background], i) => (
          <div key={part}>
            <dt>
              <i aria-hidden="true" style={{ background }} />
              {title}
            </dt>
            <dd>{all > 0 ? `${Math.round(shares[i] ?? 0)} %` : "–"}</dd>
          </div>
        ))}
      </dl>
      <div
        class="bar-of-parts"
        aria-hidden="true"
        style={{ background: all > 0 ? `linear-gradient(to right, ${stops.join(", ")})` : "var(--line)" }}
      />
      {device.value === "webgpu" && (
        <p class="hint">The GPU works on its own: what it takes shows in the read-back.</p>
      )}
    </div>
  );
}
