// The runs table: filter, sort, group, choose columns, select runs for plotting, open a run.

import { useMemo } from "preact/hooks";
import { count, duration, methodTitle, percent } from "../../format";
import { COLUMNS, fieldOf, type Column } from "./columns";
import { Differences } from "./differences";
import { expression } from "./filter";
import { called, chooseColumns, columns, filter, found, groupBy, grouping, longName, marks, order, wrong } from "./found";
import { COLOURS, opened, selected, toggle } from "../../records/selection";
import { edition, records, rows } from "../../records/records";
import { Menu } from "../menu";
import type { By, Mean, Row, GroupSummary } from "../../wasm/view";
import { VirtualTable } from "./virtual";

/** The table with its toolbar. */
export function RunsTable() {
  const all = rows.value.length;
  const kept = found.value.length;
  return (
    <section class="runs" aria-labelledby="runs-title">
      <div class="bar">
        <h2 id="runs-title">Runs</h2>
        <label class="filter">
          <span class="visually-hidden">Filter runs</span>
          <input
            type="search"
            placeholder="Filter: lora -snli test>80%"
            aria-describedby="filter-wrong"
            aria-invalid={wrong.value !== "" || undefined}
            value={filter.value}
            onInput={(e) => (filter.value = e.currentTarget.value)}
          />
        </label>
        <p class="tally" role="status">
          {kept === all ? `${count(all)} ${all === 1 ? "run" : "runs"}` : `${count(kept)} of ${count(all)} runs`}
        </p>
        <Choices
          title="Group by"
          offered={COLUMNS.filter((c) => c.by)}
          chosen={COLUMNS.filter((c) => c.by && grouping.value.includes(c.by))}
          choose={(chosen) => groupBy(chosen.flatMap((c) => (c.by ? [c.by] : [])))}
        />
        {grouping.value.length === 0 && (
          <Choices title="Columns" offered={COLUMNS} chosen={columns.value} least={1} choose={chooseColumns} />
        )}
        <Differences />
      </div>
      <p id="filter-wrong" class="notice" role="alert" hidden={wrong.value === ""}>
        {wrong.value}
      </p>
      {grouping.value.length > 0 ? <Groups by={grouping.value} /> : <Runs />}
    </section>
  );
}

interface ChoicesProps {
  title: string;
  offered: Column[];
  chosen: Column[];
  /** The minimal number of chosen columns. */
  least?: number;
  choose(chosen: Column[]): void;
}

/** A menu of columns with checkboxes. */
function Choices({ title, offered, chosen, least = 0, choose }: ChoicesProps) {
  return (
    <Menu title={title}>
      {() => (
        <div>
          {offered.map((column) => (
            <label key={column.id}>
              <input
                type="checkbox"
                checked={chosen.includes(column)}
                disabled={chosen.includes(column) && chosen.length <= least}
                onChange={(e) => {
                  const add = e.currentTarget.checked;
                  choose(offered.filter((c) => (c === column ? add : chosen.includes(c))));
                }}
              />
              {column.title}
            </label>
          ))}
        </div>
      )}
    </Menu>
  );
}

function Runs() {
  const head = (
    <>
      <th scope="col">
        <span class="visually-hidden">Plot</span>
      </th>
      {columns.value.map((c) => (
        <SortHead key={c.id} column={c} />
      ))}
    </>
  );
  return (
    <VirtualTable
      label="Table of runs"
      head={head}
      width={columns.value.length + 1}
      items={found.value}
      draw={(row, props) => <RunRow key={row.key} row={row} {...props} />}
    />
  );
}

function SortHead({ column }: { column: Column }) {
  const down = order.value.startsWith("-");
  const sorted = order.value.replace("-", "") === column.id;
  return (
    <th
      scope="col"
      class={column.numeric ? "number" : ""}
      aria-sort={sorted ? (down ? "descending" : "ascending") : undefined}
    >
      <button
        type="button"
        onClick={() => (order.value = `${(sorted ? !down : column.numeric) ? "-" : ""}${column.id}`)}
      >
        {column.title}
        <span class="arrow" aria-hidden="true">
          {sorted ? (down ? "↓" : "↑") : ""}
        </span>
      </button>
    </th>
  );
}

function RunRow({ row, ...props }: { row: Row; "aria-rowindex": number }) {
  const colour = selected.value.get(row.key);
  const isFull = colour === undefined && selected.value.size >= COLOURS;
  const pinned = marks.value[row.key]?.pinned;
  return (
    <tr class={`${colour === undefined ? "" : "selected"} ${pinned ? "pinned" : ""}`} {...props}>
      <td>
        <label class="pick" title={isFull ? `At most ${COLOURS} runs can be plotted` : undefined} style={colour === undefined ? {} : { "--pick": `var(--series-${colour + 1})` }}>
          <input
            type="checkbox"
            checked={colour !== undefined}
            disabled={isFull}
            onChange={() => toggle(row.key)}
            aria-label={`Plot ${longName(row)}`}
          />
        </label>
      </td>
      {columns.value.map((c, i) => (
        <td key={c.id} class={c.numeric ? "number" : ""}>
          {i === 0 ? (
            <button type="button" class="link" title={longName(row)} onClick={() => (opened.value = row.key)}>
              {pinned && <span aria-label="pinned">★ </span>}
              {c.id === "run" ? called(row) : c.show(row)}
            </button>
          ) : c.id === "status" ? (
            <span class={`state ${row.status}`}>{row.status}</span>
          ) : (
            c.show(row)
          )}
        </td>
      ))}
    </tr>
  );
}

const TITLES = new Map(COLUMNS.flatMap((c) => (c.by ? [[c.by, c] as const] : [])));

/** Groups of runs, with means and intervals computed by apet-study. */
function Groups({ by }: { by: By[] }) {
  const groups = useMemo(
    () => records()?.grouped(by, found.value.map((r) => r.key)) ?? [],
    [edition.value, found.value, by.join()],
  );
  const head = (
    <>
      {by.map((b) => (
        <th key={b} scope="col" class={TITLES.get(b)?.numeric ? "number" : ""}>
          {TITLES.get(b)?.title}
        </th>
      ))}
      {["Runs", "Test", "Dev", "Time"].map((title) => (
        <th key={title} scope="col" class="number">
          {title}
        </th>
      ))}
    </>
  );
  return (
    <VirtualTable
      label="Table of groups of runs"
      head={head}
      width={by.length + 4}
      items={groups}
      draw={(group, props) => <GroupRow key={group.values.join("\n")} by={by} group={group} {...props} />}
    />
  );
}

function GroupRow({ by, group, ...props }: { by: By[]; group: GroupSummary; "aria-rowindex": number }) {
  const shown = (b: By, value: string | number) =>
    b === "method" ? methodTitle(String(value)) : b === "count" ? count(Number(value)) : String(value);
  const open = () => {
    const added = expression(Object.fromEntries(by.map((b, i) => [fieldOf(b), group.values[i] ?? ""])));
    filter.value = `${filter.value} ${added}`.trim();
    groupBy([]);
  };
  return (
    <tr {...props}>
      {by.map((b, i) => (
        <td key={b} class={TITLES.get(b)?.numeric ? "number" : ""}>
          {shown(b, group.values[i] ?? "")}
        </td>
      ))}
      <td class="number">
        <button type="button" class="link" onClick={open} aria-label={`Show these ${group.n} runs`}>
          {count(group.n)}
        </button>
        {group.done < group.n && ` (${count(group.done)} done)`}
      </td>
      <td class="number">{meanOf(group.test, percent)}</td>
      <td class="number">{meanOf(group.dev, percent)}</td>
      <td class="number">{group.seconds ? duration(group.seconds.mean) : "–"}</td>
    </tr>
  );
}

/** "78.3 % [76.8, 79.8]": a mean with its 95 % interval. */
function meanOf(mean: Mean | null, show: (x: number) => string): string {
  if (mean === null) return "–";
  const { low, high } = mean;
  const ends = low !== null && high !== null ? ` [${(low * 100).toFixed(1)}, ${(high * 100).toFixed(1)}]` : "";
  return show(mean.mean) + ends;
}
