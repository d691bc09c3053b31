// What is happening, and what went wrong: a line each.

import { compact, count, duration, loss, megabytes, percent, rough } from "../../format";
import type { Transfer } from "../../storage/sources";
import { invalid, spec } from "../choices";
import { live } from "./live";
import { held, notice, phase, plan, problem, progress, transfer, unfit } from "./state";
import { StepTime } from "./step-time";

/** One line on what is happening, one on what went wrong. */
export function Going() {
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
  const doing = progress.value;
  const done = l?.steps.at(-1) ?? 0;
  const stepping = done > 0 && (now === "running" || now === "paused" || now === "stopping");
  if (transfer.value) return transferLine(transfer.value);
  if (doing && !stepping) return `${doing.charAt(0).toUpperCase()}${doing.slice(1)}…`;
  if (now === "preparing" || now === "starting") return "Preparing…";
  if (now === "idle" && invalid.value.size > 0) return "A number in the form can not be used yet.";
  if (now === "idle" && held.value === spec.value.model && held.value)
    return "The download was cancelled; what came of it is kept.";
  if (now === "idle" && (problem.value || unfit.value) && !plan.value?.theta) return "This can not be trained as it stands.";
  if (!l) return now === "idle" ? "Ready." : "Starting…";
  if (now === "idle" && l.summary) return summaryLine(l.summary);
  const planned = l.spec.train.steps;
  const at = `Step ${count(done)} of ${count(planned)}, loss ${loss(l.losses.at(-1))}`;
  if (now === "stopping") return `${at}. Stopping after this step…`;
  if (now === "paused") return `${at}. Paused.`;
  if (now === "idle") return `${at}. Interrupted; it can be resumed.`;
  if (doing) return `${at} · ${doing}…`;
  if (l.msPerStep === 0) return at;
  return `${at} · ${rough(1000 / l.msPerStep)} steps/s, ${compact((1000 * l.tokens) / l.msPerStep)} tokens/s, ${duration(((planned - done) * l.msPerStep) / 1000)} left`;
}

function transferLine({ model, at, total, rate }: Transfer): string {
  const pace = rate > 0 ? `, ${megabytes(rate)} MB/s, ${duration((total - at) / rate)} left` : "";
  return `Getting ${model}: ${megabytes(at)} of ${megabytes(total)} MB${pace}`;
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
