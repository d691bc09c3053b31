// The data: a task of the host, or the user's files.

import { errorText } from "../../format";
import { useRef } from "preact/hooks";
import { tasks } from "../../storage/catalogue";
import type { TaskSpec } from "../../spec";
import { addOwnTask, ownTasks, removeOwnTask } from "../../storage/own-tasks";
import { change, spec } from "../choices";
import { SelectField } from "./fields";
import { problem, unfit } from "../run/state";

const TEXT_NAMES = ["text", "sentence", "review", "content", "comment", "tweet", "title"];
const LABEL_NAMES = ["label", "class", "category", "sentiment", "target", "y"];

/** The fields of the task. */
export function TaskFields() {
  const picker = useRef<HTMLInputElement>(null);
  const offered = tasks();
  const { task } = spec.value;
  const own = ownTasks.value.find((t) => t.name === task.name);
  const options = [
    ...offered.map((t) => ({ value: t.name, title: t.title || t.name })),
    ...ownTasks.value.map((t) => ({ value: t.name, title: `${t.name} (your data)` })),
  ];
  if (task.name && !options.some((o) => o.value === task.name))
    options.unshift({ value: task.name, title: `${task.name} (not available)` });

  return (
    <>
      <SelectField label="Task" value={task.name} options={options} onChange={chooseTask} />
      {own && (
        <>
          <div class="pair">
            <ColumnField
              label="Text column"
              value={task.text_column}
              columns={own.columns}
              onChange={(c) => change((s) => void (s.task.text_column = c))}
            />
            <ColumnField
              label="Label column"
              value={task.label_column}
              columns={own.columns}
              onChange={(c) => change((s) => void (s.task.label_column = c))}
            />
          </div>
          <div class="pair">
            <SelectField
              label="Second text"
              value={task.text_pair_column ?? ""}
              options={[{ value: "", title: "none" }, ...own.columns.map((c) => ({ value: c, title: c }))]}
              onChange={(c) =>
                change((s) => {
                  if (c) s.task.text_pair_column = c;
                  else delete s.task.text_pair_column;
                })
              }
            />
            <button type="button" class="quiet" onClick={() => forget(own.name)}>
              Remove this data
            </button>
          </div>
        </>
      )}
      <div class="drop">
        <button type="button" class="quiet" onClick={() => picker.current?.click()}>
          Use your own file…
        </button>
        <p class="hint">
          CSV, TSV or JSONL with a text and a label column; or drop it on the page. It stays in this browser.
        </p>
        <input
          ref={picker}
          type="file"
          multiple
          accept=".csv,.tsv,.jsonl,.json"
          hidden
          data-testid="own-data"
          onChange={(e) => {
            const files = [...(e.currentTarget.files ?? [])];
            e.currentTarget.value = "";
            void takeOwnFiles(files);
          }}
        />
      </div>
    </>
  );
}

function ColumnField({
  label,
  value,
  columns,
  onChange,
}: {
  label: string;
  value: string | null | undefined;
  columns: string[];
  onChange(column: string): void;
}) {
  return (
    <SelectField
      label={label}
      value={value ?? ""}
      options={columns.map((c) => ({ value: c, title: c }))}
      onChange={onChange}
    />
  );
}

/** Makes a task from the files and chooses it. */
export async function takeOwnFiles(files: File[]): Promise<void> {
  if (files.length === 0) return;
  try {
    const offered = tasks().map((t) => t.name);
    const task = await addOwnTask(files, [...offered, ...ownTasks.value.map((t) => t.name)]);
    problem.value = unfit.value = "";
    chooseTask(task.name);
  } catch (error) {
    problem.value = errorText(error);
  }
}

function chooseTask(name: string): void {
  change((s) => {
    const { text_column: _t, text_pair_column: _p, label_column: _l, ...rest } = s.task;
    s.task = { ...rest, name, ...columnsOf(name) };
  });
}

function columnsOf(name: string): Partial<TaskSpec> {
  const columns = ownTasks.value.find((t) => t.name === name)?.columns;
  if (!columns) return {};
  const like = (names: string[]) => columns.find((c) => names.includes(c.toLowerCase()));
  const label = like(LABEL_NAMES) ?? columns.at(-1) ?? "";
  const text = like(TEXT_NAMES) ?? columns.find((c) => c !== label) ?? "";
  return { text_column: text, label_column: label };
}

function forget(name: string): void {
  const next = tasks()[0]?.name;
  void removeOwnTask(name);
  chooseTask(next ?? "");
}
