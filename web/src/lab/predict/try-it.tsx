// Try it: the predictions of this tab's runs for the user's text, side by side.

import { computed, effect, signal } from "@preact/signals";
import { count, errorText, methodTitle, percent } from "../../format";
import { records, rows } from "../../records/records";
import type { Row } from "../../wasm/view";
import { readLine } from "../../spec";
import { readTheta, recordName } from "../../storage/runs";
import { spec } from "../choices";
import type { Prediction } from "../../wasm/protocol";
import { ask } from "../run/questions";
import { busy, plan } from "../run/state";

/** The number of runs that are asked at once. */
const MOST = 6;
/** Tasks whose rows have two texts. */
const PAIRS = ["mnli", "snli", "qnli", "rte", "mrpc", "qqp", "boolq"];

const text = signal("");
const pair = signal("");
const answers = signal<ReadonlyMap<string, Prediction | string>>(new Map());
/** The last question, and the runs that were asked. */
const requested = signal<{ text: string; runs: Row[]; labels: string[] } | undefined>(undefined);
const asking = signal(false);

/** The runs of this tab with the chosen model and task: the newest run of each method, head only first, full tuning last. */
function askable(): Row[] {
  const { model, task } = spec.value;
  const labels = plan.value?.task?.labels.join("\n");
  const done = rows.value.filter(
    (r) =>
      r.source === "tab" &&
      r.status === "done" &&
      r.model === model &&
      r.task === task.name &&
      // A different file may have had the same name.
      (labels === undefined || labelsOf(r) === labels),
  );
  const newest = new Map<string, Row>();
  for (const row of done.sort((a, b) => a.started.localeCompare(b.started))) newest.set(`${row.method} ${row.count}`, row);
  const place = (r: Row) => (r.method === "head" ? -1 : r.method === "full" ? Infinity : r.count);
  return [...newest.values()].sort((a, b) => place(a) - place(b)).slice(-MOST);
}

const known = new Map<string, string>();

/** The labels of a run's task, one per line. */
function labelsOf(row: Row): string {
  const at = `${row.key} ${row.started}`;
  let labels = known.get(at);
  if (labels === undefined) {
    const header = readLine(records()?.record(row.key).split("\n", 1)[0] ?? "");
    labels = header?.kind === "header" ? header.task.labels.join("\n") : "";
    known.set(at, labels);
  }
  return labels;
}

async function askAll(runs: Row[]): Promise<void> {
  asking.value = true;
  answers.value = new Map();
  const of = hasPair() ? `${text.value} / ${pair.value}` : text.value;
  requested.value = { text: of, runs, labels: plan.value?.task?.labels ?? [] };
  for (const row of runs) {
    let answer: Prediction | string;
    try {
      const theta = await readTheta(recordName(row));
      if (!theta) throw new Error("its theta is no longer in this browser");
      const bytes = new Uint8Array(await theta.arrayBuffer());
      const of = records()?.spec(row.key) ?? "{}";
      answer = await ask(of, bytes, text.value, hasPair() ? pair.value : undefined);
    } catch (error) {
      answer = errorText(error);
    }
    answers.value = new Map([...answers.value, [row.key, answer]]);
  }
  asking.value = false;
}

const hasPair = () => Boolean(spec.value.task.text_pair_column) || PAIRS.includes(spec.value.task.name);

const subject = computed(() => `${spec.value.model} ${spec.value.task.name}`);
// Answers of another model or task are cleared.
effect(() => {
  void subject.value;
  requested.value = undefined;
});

/** The section to try the runs. */
export function TryIt() {
  const runs = askable();
  if (runs.length === 0) return null;
  const isLoaded = plan.value?.model.name === spec.value.model && plan.value.task !== undefined;
  const missing = ["head", "full"].filter((m) => !runs.some((r) => r.method === m)).map((m) => methodTitle(m));
  return (
    <section class="try" aria-labelledby="try-title">
      <h2 id="try-title">Try it</h2>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void askAll(runs);
        }}
      >
        <label>
          <span>Your text</span>
          <input type="text" required value={text.value} onInput={(e) => (text.value = e.currentTarget.value)} />
        </label>
        {hasPair() && (
          <label>
            <span>Second text</span>
            <input type="text" required value={pair.value} onInput={(e) => (pair.value = e.currentTarget.value)} />
          </label>
        )}
        <button type="submit" disabled={busy.value || asking.value || !isLoaded}>
          Ask {runs.length === 1 ? "the model" : `${runs.length} models`}
        </button>
      </form>
      {requested.value && <Answers {...requested.value} />}
      {missing.length > 0 && (
        <p class="hint">
          Train {missing.join(" and ")} on the same task to compare {missing.length === 1 ? "it" : "them"} with{" "}
          {runs.length === 1 ? "this run" : "these runs"}.
        </p>
      )}
    </section>
  );
}

function Answers({ text, runs, labels }: { text: string; runs: Row[]; labels: string[] }) {
  return (
    <div class="scroller" role="region" aria-label="Answers" tabIndex={0}>
      <table>
        <caption>Answers to “{text}”</caption>
        <thead>
          <tr>
            <th scope="col">Method</th>
            {labels.length > 0 ? (
              labels.map((label) => (
                <th key={label} scope="col" class="number">
                  {label}
                </th>
              ))
            ) : (
              <th scope="col">Answer</th>
            )}
          </tr>
        </thead>
        <tbody>
          {runs.map((row) => (
            <tr key={row.key}>
              <th scope="row">
                {methodTitle(row.method)} {row.count > 0 && row.method !== "full" && count(row.count)}
              </th>
              <Answered answer={answers.value.get(row.key)} width={Math.max(1, labels.length)} />
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Answered({ answer, width }: { answer: Prediction | string | undefined; width: number }) {
  if (answer === undefined) return <td colSpan={width}>…</td>;
  if (typeof answer === "string") return <td colSpan={width}>{answer}</td>;
  if ("text" in answer) return <td>{answer.text || "no text"}</td>;
  const best = Math.max(...answer.classes);
  return (
    <>
      {answer.classes.map((share, i) => (
        <td key={i} class="number share" style={{ "--share": `${share * 100}%` }}>
          {share === best ? <strong>{percent(share)}</strong> : percent(share)}
        </td>
      ))}
    </>
  );
}
