// One run: where it came from, its notes, its exact spec, and what can be done with it.

import { useEffect, useRef } from "preact/hooks";
import { count, duration, methodTitle, score, when } from "../format";
import { readLine } from "../spec";
import { lab } from "./lab";
import { deleteRow, download, opened, records, rows } from "./records";
import type { Row } from "./view";

export function RunDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const row = rows.value.find((r) => r.key === opened.value);
  useEffect(() => {
    if (row && !dialog.current?.open) dialog.current?.showModal();
    if (!row) dialog.current?.close();
  }, [row?.key]);
  return (
    <dialog
      ref={dialog}
      class="run-page"
      aria-labelledby="run-page-title"
      onClose={() => (opened.value = undefined)}
      onClick={(e) => e.target === dialog.current && dialog.current?.close()}
    >
      {row && <Page row={row} close={() => dialog.current?.close()} />}
    </dialog>
  );
}

function Page({ row, close }: { row: Row; close(): void }) {
  const facts: [string, string][] = [
    ["Run", row.run],
    ["Model", `${row.model}, ${count(row.parameters)} parameters`],
    ["Task", row.task],
    ["Tuned", `${methodTitle(row.method)}, ${count(row.count)} parameters`],
    ["Ended", `${row.status} after ${count(row.steps)} steps in ${duration(row.seconds)}. ${row.message}`],
    [
      "Score",
      `dev ${score(row.dev)}${row.best_step ? ` at step ${count(row.best_step)}` : ""}, test ${score(row.test)}`,
    ],
    [
      "Where",
      `${row.host} ${row.device}${row.adapter ? ` (${row.adapter})` : ""}, ${row.source === "tab" ? "this tab" : row.source}`,
    ],
    ["Started", when(row.started)],
  ];
  const text = records()?.record(row.key) ?? "";
  const notes = text.split("\n").flatMap((line) => {
    if (!line.includes('"note"')) return [];
    const read = readLine(line);
    return read?.kind === "note" ? [read.text] : [];
  });
  const spec = pretty(records()?.spec(row.key) ?? "{}");
  const ofAnotherProgram = (JSON.parse(spec) as { method?: { name?: string } }).method?.name === "foreign";
  return (
    <div class="page">
      <header>
        <h2 id="run-page-title">{row.name}</h2>
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </header>
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {row.edited && <p class="notice">This record's id is not the hash of its spec: it was edited after the run.</p>}
      {notes.length > 0 && (
        <ul class="notes">
          {notes.map((n, i) => (
            <li key={i}>{n}</li>
          ))}
        </ul>
      )}
      <h3>Spec</h3>
      <pre tabIndex={0} aria-label="Spec of the run as JSON">
        {spec}
      </pre>
      <div class="buttons">
        <button type="button" onClick={() => download(row)}>
          Download record
        </button>
        {lab.value?.canGoOn(row) && (
          <button
            type="button"
            disabled={lab.value.isBusy()}
            onClick={() => {
              close();
              lab.value?.goOn(row);
            }}
          >
            Resume
          </button>
        )}
        {lab.value && !ofAnotherProgram && (
          <button
            type="button"
            disabled={lab.value.isBusy()}
            onClick={() => {
              lab.value?.use(row, records()?.spec(row.key) ?? "{}");
              close();
            }}
          >
            Use in the Lab
          </button>
        )}
        <button
          type="button"
          class="danger"
          disabled={lab.value?.isBusy() && lab.value.isOnScreen(row)}
          onClick={() => {
            close();
            deleteRow(row);
          }}
        >
          {row.source === "tab" ? "Delete" : "Remove from view"}
        </button>
      </div>
    </div>
  );
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
