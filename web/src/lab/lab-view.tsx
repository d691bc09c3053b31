// The Lab: the form on the left, the run on the right.

import type { ComponentType } from "preact";
import { catalogue } from "../storage/catalogue";
import { methodTitle, count } from "../format";
import { interrupted } from "../records/records";
import { ownsStore } from "../storage/lock";
import { Charts } from "./run/charts";
import { Controls } from "./run/controls";
import { ExperimentView } from "./experiment/experiment-view";
import { Form } from "./form/form";
import { live } from "./run/live";
import { resumeRun } from "./run/resume";
import { TryIt } from "./predict/try-it";
import { busy } from "./run/state";

/** The view of the Lab; `ExperimentResults` shows the results of the experiment. */
export function LabView({ ExperimentResults }: { ExperimentResults: ComponentType }) {
  if (ownsStore.value === false) {
    return (
      <p class="sentence" role="status">
        APET Lab is open in another tab, and only one tab can train and store runs. View results here, or close the other
        tab to train in this one.
      </p>
    );
  }
  return (
    <div class="lab">
      <Form />
      <div class="watch">
        {typeof catalogue.value === "string" && (
          <p class="notice" role="status">
            {catalogue.value}
          </p>
        )}
        <ExperimentView Found={ExperimentResults} />
        <Interrupted />
        <Controls />
        <Charts />
        <TryIt />
        <Notes />
      </div>
    </div>
  );
}

/** Runs that were interrupted when the tab was closed or reloaded. */
function Interrupted() {
  const left = interrupted.value;
  if (busy.value || left.length === 0) return null;
  return (
    <section class="interrupted" aria-labelledby="interrupted-title">
      <h2 id="interrupted-title">Interrupted</h2>
      <ul>
        {left.slice(0, 4).map((row) => (
          <li key={row.key}>
            <span>
              {methodTitle(row.method)} {count(row.count)} · {row.model} · {row.task} · step {count(row.steps)}
              {row.planned ? ` of ${count(row.planned)}` : ""}
            </span>
            <button type="button" onClick={() => void resumeRun(row)}>
              Resume
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Notes() {
  const notes = live.value?.notes ?? [];
  if (notes.length === 0) return null;
  return (
    <section class="notes" aria-labelledby="notes-title">
      <h2 id="notes-title">Notes of this run</h2>
      <ul>
        {notes.map((n, i) => (
          <li key={i}>{n}</li>
        ))}
      </ul>
    </section>
  );
}
