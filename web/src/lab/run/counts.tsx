// The trainable parameters and the estimated cost of a run of the form.

import { compact, count, duration, megabytes, percent, share } from "../../format";
import { PositionMap } from "../positions/position-map";
import { speeds } from "./speed";
import { plan, type Plan } from "./state";

/** The counts. */
export function Counts() {
  const p = plan.value;
  const { theta, model, task } = p ?? {};
  const facts = [
    [
      "Parameters trained",
      theta && count(theta.trainable_parameters),
      theta && model && `${share(theta.trainable_parameters, model.parameters)} of ${compact(model.parameters)}`,
    ],
    ["Classifier on top", theta && count(theta.head), task && `${task.labels.length} classes`],
    ["Training sentences", task && count(task.train_rows), task && `${count(task.dev_rows)} dev, ${count(task.test_rows)} test`],
    ["Memory", theta && `${megabytes(theta.takes.peak)} MB`, theta && (isTooLarge(p) ? "at most; a tab has 4,295 MB" : "at most")],
    ["Time", theta && duration(theta.takes.operations / (speeds.value[p?.device.name ?? ""] ?? NaN)), theta && timeHint(p?.device.name)],
    ["Chance level", task && percent(task.uniform_guess), task && `majority class ${percent(task.majority_guess)}`],
  ] as const;
  return (
    <>
      <dl class="facts" data-testid="counts" data-model={model?.name}>
        {facts.map(([name, value, more]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <strong>{value ?? "–"}</strong>
              <span>{more ?? "\u00a0"}</span>
            </dd>
          </div>
        ))}
      </dl>
      <p class="hint one">
        {pool()}
        {task?.split_note ? ` ${task.split_note}` : ""}
      </p>
      <PositionMap />
    </>
  );
}

/** Whether a run may need more memory than WebAssembly can address. */
const isTooLarge = (p: Plan | undefined) => p?.device.name === "cpu" && (p.theta?.takes.peak ?? 0) > 2 ** 32;

const timeHint = (device: string | undefined) =>
  speeds.value[device ?? ""] ? "at the speed of the last run" : "known after a run";

function pool(): string {
  const p = plan.value;
  if (!p) return "";
  const where = p.theta && p.theta.candidate_parameters > 0 ? `Chosen among ${count(p.theta.candidate_parameters)} parameters. ` : "";
  const note = p.theta?.note ? `${p.theta.note}. ` : "";
  return `${where}${note}${p.model.layers} layers, hidden size ${p.model.hidden}.`;
}
