// The time of the last steps, by phase.

import { rough } from "../../format";
import type { StepTimings } from "../../wasm/protocol";
import { device } from "../choices";
import { live, stepTimings } from "./live";
import { phase } from "./state";

/** The phases of a step, each with its title and colour; the last is waiting for the other threads. */
const PARTS: [keyof StepTimings, string, string][] = [
  ["forward", "Forward", "var(--series-1)"],
  ["backward", "Backward", "var(--series-2)"],
  ["update", "Update", "var(--series-3)"],
  ["read_back", "Read-back", "var(--series-4)"],
  ["helpers", "Waiting", "var(--ink-2)"],
];

/** The share of each phase in the time of the last steps. Its place is kept before the first step, so that the layout does not shift. */
export function StepTime() {
  const found = phase.value === "preparing" ? undefined : stepTimings.value;
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
        <p class="hint">The GPU runs asynchronously: its time shows up in the read-back.</p>
      )}
    </div>
  );
}
