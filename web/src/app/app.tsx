// The page: its header, its two views, and files dropped on it.

import { computed } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { droppedFiles, type Dropped } from "./drop";
import { takeInitFiles } from "../lab/form/initialise-from";
import { ExperimentResults } from "./experiment-results";
import { LabView } from "../lab/lab-view";
import { takeModelFiles } from "../lab/form/models-dialog";
import { takeOwnFiles } from "../lab/form/task-fields";
import { BUSY, busy, phase, problem } from "../lab/run/state";
import { alone } from "../results/figures/choice";
import { ResultsView } from "../results/results-view";
import { Messages } from "./messages";
import { addFiles } from "../records/open";
import { rows } from "../records/records";
import { tell } from "../records/messages";
import { go, view, type View } from "../route";
import { areModel } from "../storage/own-models";

const VIEWS: { value: View; title: string }[] = [
  { value: "lab", title: "Lab" },
  { value: "results", title: "Results" },
];

/** The page shows a single figure, embedded in another page; nothing else is loaded. */
export const isAlone = computed(() => view.value === "results" && alone.value !== "");

/** The whole page. */
export function App() {
  const dropping = useDrop();
  if (isAlone.value)
    return (
      <main>
        <Messages />
        <ResultsView />
      </main>
    );
  return (
    <>
      <header class="top">
        <h1>APET Lab</h1>
        <p class="motto">Tune a language model with as few parameters as you like, in this tab.</p>
        <nav aria-label="Views">
          {VIEWS.map((p) => (
            <a key={p.value} href={`#${p.value}`} aria-current={view.value === p.value ? "page" : undefined}>
              {p.title}
              {p.value === "results" && rows.value.length > 0 && <span class="badge"> {rows.value.length}</span>}
              {p.value === "lab" && phase.value === "running" && (
                <span class="pulse" role="img" aria-label="training" />
              )}
            </a>
          ))}
        </nav>
      </header>
      <main>
        <Messages />
        <div hidden={view.value !== "lab"}>
          <LabView ExperimentResults={ExperimentResults} />
        </div>
        <div hidden={view.value !== "results"}>
          <ResultsView />
        </div>
      </main>
      {dropping && (
        <div class="dropping" aria-hidden="true">
          Drop data to train on, a model's folder to tune, or saved runs to compare
        </div>
      )}
    </>
  );
}

/** Handles files dropped anywhere: records go to Results, everything else to the Lab. */
function useDrop(): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const carries = (e: DragEvent) => e.dataTransfer?.types.includes("Files");
    const dragover = (e: DragEvent) => {
      if (!carries(e)) return;
      e.preventDefault();
      setOver(true);
    };
    const leave = (e: DragEvent) => {
      if (!e.relatedTarget) setOver(false);
    };
    const drop = (e: DragEvent) => {
      if (!carries(e)) return;
      e.preventDefault();
      setOver(false);
      if (e.dataTransfer) void droppedFiles(e.dataTransfer).then(takeFiles);
    };
    addEventListener("dragover", dragover);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", dragover);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, []);
  return over;
}

async function takeFiles({ files: all, folder }: Dropped): Promise<void> {
  if (await takeInitFiles(all, folder)) return;
  // Thetas next to records, as in the folder of runs, are not a model.
  const files = all.filter((file) => !/\.(theta|checkpoint)\.safetensors$/i.test(file.name));
  if (files.length === 0) tell("Several thetas: drop one to initialise a run from it, or drop their records to compare the runs.");
  if (areModel(files)) {
    go("lab");
    if (busy.value) problem.value = BUSY;
    else takeModelFiles(files, folder);
    return;
  }
  const records: File[] = [];
  const data: File[] = [];
  for (const file of files) ((await isRecord(file)) ? records : data).push(file);
  if (records.length > 0) {
    await addFiles(records);
    go("results");
  }
  if (data.length > 0) {
    go("lab");
    if (busy.value) problem.value = BUSY;
    else await takeOwnFiles(data);
  }
}

/** Whether a file holds records, by its first bytes: of a run or of peft. In Results, every .jsonl file counts as records. */
async function isRecord(file: File): Promise<boolean> {
  if (/\.(zip|parquet)$/i.test(file.name)) return true;
  // A table of `apet collect`.
  if (/\.csv$/i.test(file.name)) return /^run,model,family,/.test(await file.slice(0, 64).text());
  if (/\.json$/i.test(file.name)) return /^\s*\{\s*"run_info"\s*:/.test(await file.slice(0, 4096).text());
  if (!file.name.toLowerCase().endsWith(".jsonl")) return false;
  if (view.value === "results") return true;
  return (
    /^\s*\{[^]{0,80}"kind"\s*:\s*"header"/.test(await file.slice(0, 4096).text()) ||
    /"record"\s*:\s*"\d/.test(await file.slice(0, 4096).text())
  );
}
