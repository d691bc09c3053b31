// Before, during and after: counts, the buttons, and what is going on.

import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { compact, count, duration, loss, megabytes, percent, rough, share } from "../../format";
import { offered } from "../../storage/own-models";
import { asked, device, invalid, ready, spec } from "../choices";
import { live, spent } from "./live";
import { PositionMap } from "../positions/position-map";
import type { Spent } from "../../wasm/protocol";
import type { Transfer } from "../../storage/sources";
import { speeds } from "./speed";
import { job, stopThere, there, trainThere } from "./there";
import { busy, held, notice, phase, plan, problem, progress, queued, transfer, unfit, type Plan } from "./state";
import { cancelDownload, prepare } from "./main-worker";
import { pause, resume, stop, train } from "./trainer";

const SETTLE_MS = 250;
/** A model this large is fetched without being asked for only from this machine. */
const LARGE_BYTES = 32e6;

export function Controls() {
  usePlan();
  const now = phase.value;
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    if (now === "running" && !queued.peek()) place.current?.scrollIntoView({ block: "nearest" });
  }, [now]);
  // A button that goes leaves the focus to the one in its place.
  const pressed = useRef(false);
  useEffect(() => {
    const see = (e: Event) => {
      const buttons = place.current?.querySelector(".buttons");
      pressed.current = buttons?.contains(e.target as Node) ?? false;
    };
    const events = ["focusin", "pointerdown"];
    for (const event of events) addEventListener(event, see);
    return () => {
      for (const event of events) removeEventListener(event, see);
    };
  }, []);
  useEffect(() => {
    if (!pressed.current || document.activeElement !== document.body) return;
    place.current?.querySelector<HTMLElement>(".buttons button:not(:disabled)")?.focus();
  }, [now]);
  return (
    <section ref={place} class="controls" aria-labelledby="run-title">
      <h2 id="run-title" class="visually-hidden">
        Run
      </h2>
      <Counts />
      <div class="buttons">
        {!busy.value && (
          <button
            type="button"
            class="primary"
            disabled={!ready.value || now === "preparing"}
            onClick={() => {
              if (there.value) void trainThere(spec.value, there.value);
              else if (device.value) void train(spec.value, device.value);
            }}
          >
            Train
          </button>
        )}
        {!busy.value && now === "idle" && waits() && (
          <button type="button" onClick={() => getModel()}>
            Get the model
          </button>
        )}
        {transfer.value && (
          <button type="button" onClick={() => cancelDownload()}>
            Cancel download
          </button>
        )}
        {busy.value && !job.value && now !== "paused" && (
          <button type="button" disabled={now !== "running"} onClick={() => void pause()}>
            Pause
          </button>
        )}
        {now === "paused" && (
          <button type="button" class="primary" onClick={() => void resume()}>
            Resume
          </button>
        )}
        {busy.value && (
          <button type="button" disabled={now === "idle"} onClick={() => void (job.value ? stopThere() : stop())}>
            {now === "stopping" ? "End now" : "Stop"}
          </button>
        )}
      </div>
      <Going />
    </section>
  );
}

// What was said of another form is no longer so.
effect(() => {
  void spec.value;
  problem.value = "";
});

/** Loads and counts whenever the form comes to rest. */
function usePlan() {
  const chosen = spec.value;
  const where = device.value;
  const can = ready.value;
  useEffect(() => {
    if (!can || !where || !comesUnasked(chosen.model)) return;
    const timer = setTimeout(() => void prepare(chosen, where), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [chosen, where, can]);
}

function comesUnasked(model: string): boolean {
  if (held.peek() === model) return false;
  const here = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  const entry = offered().find((m) => m.name === model);
  if (here || asked.has(model) || entry?.whole || plan.peek()?.model.name === model) return true;
  return (entry?.bytes ?? 0) < LARGE_BYTES;
}

/** Whether the chosen model is fetched only when it is asked for. */
const waits = () => ready.value && plan.value?.model.name !== spec.value.model && !comesUnasked(spec.value.model);

function getModel(): void {
  asked.add(spec.value.model);
  held.value = "";
  if (device.value) void prepare(spec.value, device.value);
}

function Counts() {
  const p = plan.value;
  const { theta, model, task } = p ?? {};
  const facts = [
    [
      "Tuned",
      theta && count(theta.trainable_parameters),
      theta && model && `${share(theta.trainable_parameters, model.parameters)} of ${compact(model.parameters)}`,
    ],
    ["Head", theta && count(theta.head), task && `${task.labels.length} classes`],
    ["Rows", task && count(task.train_rows), task && `${count(task.dev_rows)} dev, ${count(task.test_rows)} test`],
    ["Memory", theta && `${megabytes(theta.takes.peak)} MB`, theta && (isTooLarge(p) ? "at most; a tab has 4,295 MB" : "at most")],
    ["Time", theta && duration(theta.takes.operations / (speeds.value[p?.device.name ?? ""] ?? NaN)), theta && timeHint(p?.device.name)],
    ["Guess", task && percent(task.uniform_guess), task && `majority ${percent(task.majority_guess)}`],
  ] as const;
  return (
    <>
      <dl class="facts" data-testid="counts">
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

/** Whether a run may need more than WebAssembly can have. */
const isTooLarge = (p: Plan | undefined) => p?.device.name === "cpu" && (p.theta?.takes.peak ?? 0) > 2 ** 32;

const timeHint = (device: string | undefined) =>
  speeds.value[device ?? ""] ? "at the pace of the last run" : "known after a run";

function pool(): string {
  const p = plan.value;
  if (!p) return "";
  const where = p.theta && p.theta.candidate_parameters > 0 ? `Drawn from a pool of ${count(p.theta.candidate_parameters)} parameters. ` : "";
  const note = p.theta?.note ? `${p.theta.note}. ` : "";
  return `${where}${note}${p.model.layers} layers, hidden size ${p.model.hidden}.`;
}

/** One line on what is happening, one on what went wrong. */
function Going() {
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

/** What a step's time goes to, each with its colour; the last is waiting for the other threads. */
const PARTS: [keyof Spent, string, string][] = [
  ["forward", "Forward", "var(--series-1)"],
  ["backward", "Backward", "var(--series-2)"],
  ["update", "Update", "var(--series-3)"],
  ["read_back", "Read-back", "var(--series-4)"],
  ["helpers", "Waiting", "var(--ink-2)"],
];

/** What the last steps spent their time with. It has its place before anything is known, so that nothing moves for it. */
function StepTime() {
  const found = phase.value === "preparing" ? undefined : spent.value;
  const all = found ? PARTS.reduce((sum, [part]) => sum + found[part], 0) : 0;
  const shares = PARTS.map(([part]) => (found && all > 0 ? (100 * found[part]) / all : 0));
  const ms = live.value?.msPerStep;
  let to = 0;
  const stops = PARTS.map(([, , colour], i) => `${colour} ${to}% ${(to += shares[i] ?? 0)}%`);
  return (
    <div class="step-time" data-testid="step-time">
      <dl>
        <div>
          <dt>A step</dt>
          <dd>{all > 0 && ms ? `${rough(ms)} ms` : "–"}</dd>
        </div>
        {PARTS.map(([part, title, background], i) => (
          <div key={part}>
            <dt>
              <i aria-hidden="true" style={{ background }} />
              {title}
            </dt>
            <dd>{all > 0 ? `${Math.round(shares[i] ?? 0)} %` : "–"}</dd>
          </div>
        ))}
      </dl>
      <div
        class="bar-of-parts"
        aria-hidden="true"
        style={{ background: all > 0 ? `linear-gradient(to right, ${stops.join(", ")})` : "var(--line)" }}
      />
      {device.value === "webgpu" && (
        <p class="hint">The GPU works on its own: what it takes shows in the read-back.</p>
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
