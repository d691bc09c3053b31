// The status line, and the current problem.

import { compact, count, duration, loss, megabytes, percent, rough } from "../../format";
import type { Transfer } from "../../storage/sources";
import { invalid, spec } from "../choices";
import { live } from "./live";
import { held, notice, phase, plan, problem, progress, transfer, unfit } from "./state";
import { StepTime } from "./step-time";

/** The status of the run, and its problem if it has one. */
export function Status() {
  return (
    <div class="going">
      <div class="doing">
        <p class="status" role="status" data-testid="status">
          {statusLine()}
        </p>
        {transfer.value && (
          <progress
            aria-label={`Download of ${transfer.value.model}`}
            value={transfer.value.at}
            max={transfer.value.total}
          />
        )}
      </div>
      <StepTime />
      {notice.value && (
        <p class="notice" role="status">
          {notice.value}
        </p>
      )}
      {(problem.value || unfit.value) && (
        <p class="problem" role="alert" data-testid="problem">
          {problem.value || unfit.value}
        </p>
      )}
    </div>
  );
}

function statusLine(): string {
  const l = live.value;
  const now = phase.value;
  const current = progress.value;
  const done = l?.steps.at(-1) ?? 0;
  const stepping = done > 0 && (now === "running" || now === "paused" || now === "stopping");
  if (transfer.value) return transferLine(transfer.value);
  if (current && !stepping) return `${current.charAt(0).toUpperCase()}${current.slice(1)}…`;
  if (now === "preparing" || now === "starting") return "Preparing…";
  if (now === "idle" && invalid.value.size > 0) return "A number in the form is not valid yet.";
  if (now === "idle" && held.value === spec.value.model && held.value)
    return "The download was cancelled; the downloaded part is kept.";
  if (now === "idle" && (problem.value || unfit.value) && !plan.value?.theta) return "This setup cannot be trained.";
  if (!l) return now === "idle" ? "Ready." : "Starting…";
  if (now === "idle" && l.summary) return summaryLine(l.summary);
  const planned = l.spec.train.steps;
  const at = `Step ${count(done)} of ${count(planned)}, loss ${loss(l.losses.at(-1))}`;
  if (now === "stopping") return `${at}. Stopping after this step…`;
  if (now === "paused") return `${at}. Paused.`;
  if (now === "idle") return `${at}. Interrupted; you can resume it.`;
  if (current) return `${at} · ${current}…`;
  if (l.msPerStep === 0) return at;
  return `${at} · ${rough(1000 / l.msPerStep)} steps/s, ${compact((1000 * l.tokens) / l.msPerStep)} tokens/s, ${duration(((planned - done) * l.msPerStep) / 1000)} left`;
}

function transferLine({ model, at, total, rate }: Transfer): string {
  const pace = rate > 0 ? `, ${megabytes(rate)} MB/s, ${duration((total - at) / rate)} left` : "";
  return `Downloading ${model}: ${megabytes(at)} of ${megabytes(total)} MB${pace}`;
}

function summaryLine(s: NonNullable<NonNullable<typeof live.value>["summary"]>): string {
  const ends: Record<string, string> = { done: "Done", stopped: "Stopped", diverged: "Diverged" };
  const scores = [
    s.dev != null && `dev ${percent(s.dev)} at step ${s.best_step}`,
    s.test != null && `test ${percent(s.test)}`,
  ]
    .filter(Boolean)
    .join(", ");
  return `${ends[s.status] ?? s.status} after ${count(s.steps)} steps in ${duration(s.seconds)}${scores ? `: ${scores}` : ""}.${s.message ? ` ${s.message}` : ""}`;
}
