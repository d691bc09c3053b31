// The page of a run: its origin, curves, notes, exact spec, and actions on it.

import { useEffect, useRef } from "preact/hooks";
import { METHODS } from "../../generated/methods";
import { count, duration, megabytes, methodTitle, score, when } from "../../format";
import { deleteRow } from "../../records/deletion";
import { lab } from "../../records/lab-actions";
import { records, rows } from "../../records/records";
import { opened } from "../../records/selection";
import { readLine } from "../../spec";
import { recordName } from "../../storage/runs";
import { save } from "../../storage/save";
import type { Row } from "../../wasm/view";
import { Copy } from "../copy";
import { longName, mark, marks } from "../table/found";
import { Curves } from "./curves";
import { Theta } from "./theta";

/** The dialog with the page of the opened run. */
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
    ["Method", `${methodTitle(row.method)}, ${count(row.count)} parameters trained`],
    ["Ended", `${row.status} after ${count(row.steps)} steps in ${duration(row.seconds)}. ${row.message}`],
    [
      "Score",
      `dev ${score(row.dev)}${row.best_step ? ` at step ${count(row.best_step)}` : ""}, test ${score(row.test)}`,
    ],
    [
      "Ran on",
      `${row.host} ${row.device}${row.adapter ? ` (${row.adapter})` : ""}, ${row.source === "tab" ? "this tab" : row.source}`,
    ],
    ["Cost", `${row.peak_bytes === null ? "" : `at most ${megabytes(row.peak_bytes)} MB, `}${count(row.steps)} steps, learning rate ${row.learning_rate}`],
    ["Started", when(row.started)],
  ];
  const text = records()?.record(row.key) ?? "";
  const software = environment(text.slice(0, text.indexOf("\n")));
  if (software) facts.push(["Software", software]);
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
        <h2 id="run-page-title">{longName(row)}</h2>
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
      {row.edited && <p class="notice">The id of this record is not the hash of its spec: the record was edited after the run.</p>}
      {notes.length > 0 && (
        <ul class="notes">
          {notes.map((n, i) => (
            <li key={i}>{n}</li>
          ))}
        </ul>
      )}
      <div class="marks">
        <label class="inline">
          <span>Name</span>
          <input
            type="text"
            maxLength={60}
            placeholder={row.run.slice(0, 8)}
            value={marks.value[row.key]?.name ?? ""}
            onInput={(e) => mark(row.key, { name: e.currentTarget.value })}
          />
        </label>
        <label class="inline">
          <input
            type="checkbox"
            checked={marks.value[row.key]?.pinned ?? false}
            onChange={(e) => mark(row.key, { pinned: e.currentTarget.checked })}
          />
          <span>Keep at the top of the table</span>
        </label>
      </div>
      <Curves row={row} />
      {!ofAnotherProgram && <Repeat name={recordName(row)} />}
      <h3>Spec</h3>
      <pre tabIndex={0} aria-label="Spec of the run as JSON">
        {spec}
      </pre>
      <Theta row={row} close={close} />
      <div class="buttons">
        <button type="button" onClick={() => download(row)}>
          Download run
        </button>
        {lab.value?.canResume(row) && (
          <button
            type="button"
            disabled={lab.value.isBusy()}
            onClick={() => {
              close();
              lab.value?.resume(row);
            }}
          >
            Resume
          </button>
        )}
        {/* The form cannot hold several methods at once. */}
        {lab.value && !ofAnotherProgram && METHODS.some((method) => method.name === row.method) && (
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

/** The command that repeats the run natively. */
function Repeat({ name }: { name: string }) {
  const line = `apet run --spec ${name}.jsonl`;
  return (
    <p class="repeat">
      <span>Repeat natively from its record:</span> <code>{line}</code> <Copy title="Copy" text={() => line} />
    </p>
  );
}

/** The software versions of a run, from its header. */
function environment(header: string): string {
  try {
    const { software = {} } = JSON.parse(header) as { software?: Record<string, unknown> };
    const shown = Object.entries(software).filter(([, v]) => typeof v === "string" && v !== "");
    return shown.map(([name, version]) => `${name} ${version}`).join(", ");
  } catch {
    return "";
  }
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

function download(row: Row): void {
  const text = records()?.record(row.key);
  if (text === undefined) return;
  save(`${recordName(row)}.jsonl`, "application/jsonl", text);
}
