// The scaling experiment: what it asks, its button, how far it is, and what came of it.

import type { ComponentType } from "preact";
import { catalogue } from "../../storage/catalogue";
import { count, list, megabytes, methodTitle } from "../../format";
import { presets } from "../../records/records";
import type { Spec } from "../../spec";
import { device } from "../choices";
import {
  bytesToGet,
  chosenName,
  doneRuns,
  ending,
  experiment,
  experimentModels,
  failure,
  left,
  missing,
  plannedRuns,
  presentRun,
  start,
  stop,
} from "./experiment";
import { Choice } from "../form/fields";
import { busy, queued } from "../run/state";

const TITLES: Record<string, string> = {
  demo: "Everything",
  methods: "Methods",
  positions: "Positions",
  counts: "Counts",
};

/** `Found` shows what came of its runs. */
export function ExperimentView({ Found }: { Found: ComponentType }) {
  // Its place is kept until the wasm of Results says what there is to look at.
  if (!experiment.value) return <section class="experiment to-come" aria-label="Scaling experiment" aria-busy="true" />;
  const done = doneRuns.value.length;
  const all = plannedRuns.value.length;
  return (
    <section class="experiment" aria-labelledby="experiment-title">
      <h2 id="experiment-title">Scaling experiment</h2>
      <Choice
        label="What to look at"
        value={experiment.value.name}
        options={presets.value.map(({ name }) => ({ value: name, title: TITLES[name] ?? name, off: queued.value }))}
        onChange={(name) => (chosenName.value = name)}
      />
      <p>{experiment.value.about}</p>
      <p class="hint">
        {count(all)} runs on {list(experimentModels.value)}, one after another in this tab. What is done is kept, and
        counts wherever it belongs.
      </p>
      <Start />
      {(queued.value || (done > 0 && done < all)) && <Progress done={done} all={all} />}
      {failure.value && <p class="problem">It stopped at a run that failed: {failure.value}</p>}
      {done > 0 && <Found />}
    </section>
  );
}

function Start() {
  const lacks = missing();
  const where = device.value;
  const done = doneRuns.value.length;
  if (done > 0 && done === plannedRuns.value.length) return null;
  const can = catalogue.value !== null && where !== undefined && lacks.length === 0 && !busy.value;
  const bytes = lacks.length === 0 ? bytesToGet() : 0;
  return (
    <>
      <div class="buttons">
        {/* One button, so that it keeps the focus. */}
        <button
          type="button"
          class="primary"
          disabled={queued.value ? ending.value : !can}
          onClick={() => (queued.value ? stop() : where && void start(where))}
        >
          {queued.value ? "Stop" : done > 0 ? "Go on" : "Run the experiment"}
        </button>
      </div>
      {lacks.length > 0 && (
        <p class="hint">
          It needs {list(lacks)}, which {lacks.length === 1 ? "is" : "are"} not offered here: get what is missing with{" "}
          <code>apet fetch</code> and open the page again.
        </p>
      )}
      {!queued.value && bytes > 0 && <p class="hint">Models of {megabytes(bytes)} MB are brought for it.</p>}
    </>
  );
}

function Progress({ done, all }: { done: number; all: number }) {
  const now = presentRun.value;
  return (
    <div class="going">
      <progress aria-label="Runs of the experiment that are done" value={done} max={all} />
      <p class="status" data-testid="experiment">
        {count(done)} of {count(all)} runs{timeLeft()}
        {now && (ending.value ? ". Stopping…" : `. Now ${runName(now.spec)}`)}
      </p>
    </div>
  );
}

function timeLeft(): string {
  const l = queued.value ? left.value : undefined;
  if (!l) return "";
  const minutes = Math.ceil(l.seconds / 60);
  if (minutes <= 1 && !l.atLeast) return ", under a minute left";
  return `, ${l.atLeast ? "at least" : "about"} ${count(minutes)} min left`;
}

function runName({ model, method, seeds }: Spec): string {
  const tuned = method.name !== "apet" ? "" : typeof method.count === "number" ? count(method.count) : method.count;
  return [[methodTitle(method.name), tuned].filter(Boolean).join(" "), model, `seed ${seeds.init}`].join(" · ");
}
