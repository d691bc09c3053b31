// The scaling experiment: its question, its button, its progress and its results.

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

/** The experiment; `Found` shows its results. */
export function ExperimentView({ Found }: { Found: ComponentType }) {
  // Keeps the place until the wasm of Results has listed the experiments.
  if (!experiment.value) return <section class="experiment to-come" aria-label="Scaling experiment" aria-busy="true" />;
  const done = doneRuns.value.length;
  const all = plannedRuns.value.length;
  return (
    <section class="experiment" aria-labelledby="experiment-title">
      <h2 id="experiment-title">Scaling experiment</h2>
      <Choice
        label="Question"
        value={experiment.value.name}
        options={presets.value.map(({ name }) => ({ value: name, title: TITLES[name] ?? name, off: queued.value }))}
        onChange={(name) => (chosenName.value = name)}
      />
      <p>{experiment.value.about}</p>
      <p class="hint">
        {count(all)} runs on {list(experimentModels.value)}, one after another in this tab. Finished runs are kept and
        reused.
      </p>
      <Start />
      {(queued.value || (done > 0 && done < all)) && <Progress done={done} all={all} />}
      {failure.value && <p class="problem">Stopped because a run failed: {failure.value}</p>}
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
          {queued.value ? "Stop" : done > 0 ? "Resume" : "Run the experiment"}
        </button>
      </div>
      {lacks.length > 0 && (
        <p class="hint">
          It needs {list(lacks)}, which {lacks.length === 1 ? "is" : "are"} not available here: download{" "}
          {lacks.length === 1 ? "it" : "them"} with <code>apet fetch</code> and reload the page.
        </p>
      )}
      {!queued.value && bytes > 0 && <p class="hint">Downloads {megabytes(bytes)} MB first.</p>}
    </>
  );
}

function Progress({ done, all }: { done: number; all: number }) {
  const now = presentRun.value;
  return (
    <div class="going">
      <progress aria-label="Finished runs of the experiment" value={done} max={all} />
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
