// The runs table: filter, sort, select for the overlay, open one.

import { signal } from "@preact/signals";
import { compact, count, duration, methodTitle, score, when } from "../format";
import { COLOURS, opened, rows, selected, toggle } from "./records";
import type { Row } from "./view";

/** Rows drawn at once; the rest on request, so that thousands stay quick. */
const PAGE = 200;

interface Column {
  title: string;
  value(row: Row): string | number | null;
  show(row: Row): string;
  numeric?: boolean;
}

const COLUMNS: Column[] = [
  { title: "Run", value: (r) => r.run, show: (r) => r.run.slice(0, 8) },
  { title: "Method", value: (r) => r.method, show: (r) => methodTitle(r.method) },
  { title: "Tuned", value: (r) => r.count, show: (r) => count(r.count), numeric: true },
  { title: "Dev", value: (r) => r.dev, show: (r) => score(r.dev), numeric: true },
  { title: "Test", value: (r) => r.test, show: (r) => score(r.test), numeric: true },
  { title: "Model", value: (r) => r.parameters, show: (r) => `${r.model} (${compact(r.parameters)})` },
  { title: "Task", value: (r) => r.task, show: (r) => r.task },
  { title: "Seed", value: (r) => r.seeds, show: (r) => r.seeds, numeric: true },
  { title: "Status", value: (r) => r.status, show: (r) => r.status },
  { title: "Steps", value: (r) => r.steps, show: (r) => count(r.steps), numeric: true },
  { title: "Time", value: (r) => r.seconds, show: (r) => duration(r.seconds), numeric: true },
  { title: "Where", value: (r) => `${r.host} ${r.device}`, show: (r) => `${r.host} ${r.device}` },
  { title: "From", value: (r) => r.source, show: (r) => (r.source === "tab" ? "this tab" : r.source) },
  { title: "Started", value: (r) => r.started, show: (r) => when(r.started) },
];

const filter = signal("");
const order = signal<{ column: string; down: boolean }>({ column: "Started", down: true });
const shown = signal(PAGE);

export function RunsTable() {
  const found = arranged();
  const all = rows.value.length;
  return (
    <section class="runs" aria-labelledby="runs-title">
      <div class="bar">
        <h2 id="runs-title">Runs</h2>
        <label class="filter">
          <span class="visually-hidden">Filter runs</span>
          <input
            type="search"
            placeholder="Filter: words such as lora minilm done"
            value={filter.value}
            onInput={(e) => {
              filter.value = e.currentTarget.value;
              shown.value = PAGE;
            }}
          />
        </label>
        <p class="tally" role="status">
          {found.length === all
            ? `${count(all)} ${all === 1 ? "run" : "runs"}`
            : `${count(found.length)} of ${count(all)} runs`}
        </p>
      </div>
      <div class="scroller" role="region" aria-label="Table of runs" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">
                <span class="visually-hidden">Draw</span>
              </th>
              {COLUMNS.map((c) => (
                <SortHead key={c.title} column={c} />
              ))}
            </tr>
          </thead>
          <tbody>
            {found.slice(0, shown.value).map((row) => (
              <RunRow key={row.key} row={row} />
            ))}
          </tbody>
        </table>
      </div>
      {found.length > shown.value && (
        <button type="button" class="quiet" onClick={() => (shown.value += PAGE)}>
          Show {Math.min(PAGE, found.length - shown.value)} more
        </button>
      )}
    </section>
  );
}

function SortHead({ column }: { column: Column }) {
  const { column: by, down } = order.value;
  const sorted = by === column.title;
  return (
    <th
      scope="col"
      class={column.numeric ? "number" : ""}
      aria-sort={sorted ? (down ? "descending" : "ascending") : undefined}
    >
      <button
        type="button"
        onClick={() => (order.value = { column: column.title, down: sorted ? !down : column.numeric === true })}
      >
        {column.title}
        <span class="arrow" aria-hidden="true">
          {sorted ? (down ? "↓" : "↑") : ""}
        </span>
      </button>
    </th>
  );
}

function RunRow({ row }: { row: Row }) {
  const colour = selected.value.get(row.key);
  return (
    <tr class={colour === undefined ? "" : "selected"}>
      <td>
        <label class="pick" style={colour === undefined ? {} : { "--pick": `var(--series-${colour + 1})` }}>
          <input
            type="checkbox"
            checked={colour !== undefined}
            disabled={colour === undefined && selected.value.size >= COLOURS}
            onChange={() => toggle(row.key)}
            aria-label={`Draw ${row.name}`}
          />
        </label>
      </td>
      {COLUMNS.map((c, i) => (
        <td key={c.title} class={c.numeric ? "number" : ""}>
          {i === 0 ? (
            <button type="button" class="link" title={row.name} onClick={() => (opened.value = row.key)}>
              {c.show(row)}
            </button>
          ) : c.title === "Status" ? (
            <span class={`state ${row.status}`}>{row.status}</span>
          ) : (
            c.show(row)
          )}
        </td>
      ))}
    </tr>
  );
}

function arranged(): Row[] {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found =
    words.length === 0
      ? [...rows.value]
      : rows.value.filter((r) => {
          const text = `${r.run} ${COLUMNS.map((c) => c.show(r)).join(" ")} ${r.method}`.toLowerCase();
          return words.every((w) => text.includes(w));
        });
  const { column, down } = order.value;
  const by = COLUMNS.find((c) => c.title === column);
  if (!by) return found;
  return found.sort((a, b) => compare(by.value(a), by.value(b), down));
}

/** What is not known comes last, whichever way the rest goes. */
function compare(a: string | number | null, b: string | number | null, down: boolean): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  const way =
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -way : way;
}
