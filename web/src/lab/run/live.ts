// The run on the screen: the lines of its record as series for the charts.

import { signal } from "@preact/signals";
import type { StepTimings } from "../../wasm/protocol";
import { readLine, type RecordLine, type ModelInfo, type Spec, type TaskInfo, type ThetaInfo } from "../../spec";

export interface Live {
  run: string;
  /** The device's name. */
  device: string;
  spec: Spec;
  model: ModelInfo;
  theta: ThetaInfo;
  task: TaskInfo;
  /** One entry per step, in order. */
  steps: number[];
  losses: number[];
  evalSteps: number[];
  devScores: number[];
  notes: string[];
  /** Time of the last step; 0 before the first. */
  msPerStep: number;
  /** Tokens of the last step, without padding. */
  tokens: number;
  summary: Extract<RecordLine, { kind: "summary" }> | undefined;
}

export const live = signal<Live | undefined>(undefined);

/** The time of the last steps, by phase; absent before the first. */
export const stepTimings = signal<StepTimings | undefined>(undefined);
/** The weight that earlier timings keep with each report. */
const DECAY = 0.9;

/** Adds the timings of some steps. */
export function addTimings(now: StepTimings): void {
  const before = stepTimings.peek();
  const sum = { ...now };
  if (before) for (const part of Object.keys(now) as (keyof StepTimings)[]) sum[part] += DECAY * before[part];
  stepTimings.value = sum;
}

/** The record's text so far, for Results while the run is going. */
let text = "";
let lastMs: { step: number; ms: number } | undefined;
let drawing = false;
let state: Live | undefined;

export const liveText = () => text;
/** The current state of the run, ahead of what has been drawn. */
export const currentRun = (): Live | undefined => state;

/** Shows a run from its earlier lines (none for a new run). */
export function begin(earlier = ""): void {
  text = "";
  state = undefined;
  lastMs = undefined;
  stepTimings.value = undefined;
  for (const line of earlier.split("\n")) if (line) take(line);
  show();
}

/** Adds a line of the record; the charts follow with the next frame. */
export function take(lineText: string): RecordLine | undefined {
  const line = readLine(lineText);
  if (!line) return undefined;
  if (line.kind === "header") {
    text = "";
    lastMs = undefined;
    const { run, spec, model, theta, task } = line;
    state = {
      run,
      device: line.device.name,
      spec,
      model,
      theta,
      task,
      steps: [],
      losses: [],
      evalSteps: [],
      devScores: [],
      notes: [],
      msPerStep: 0,
      tokens: 0,
      summary: undefined,
    };
  }
  if (!state) return line; // a record begins with its header
  text += `${lineText}\n`;
  follow(state, line);
  draw();
  return line;
}

function follow(to: Live, line: RecordLine): void {
  if (line.kind === "step") {
    cutBack(to.steps, line.step, to.losses);
    to.steps.push(line.step);
    to.losses.push(line.loss);
    to.tokens = line.tokens;
    // Steps whose losses are read together carry the same time.
    if (!lastMs || line.ms < lastMs.ms) lastMs = line;
    else if (line.ms > lastMs.ms && line.step > lastMs.step) {
      to.msPerStep = (line.ms - lastMs.ms) / (line.step - lastMs.step);
      lastMs = line;
    }
    to.summary = undefined;
  } else if (line.kind === "eval" && line.split === "dev") {
    cutBack(to.evalSteps, line.step, to.devScores);
    to.evalSteps.push(line.step);
    to.devScores.push(line.score);
  } else if (line.kind === "note") {
    to.notes.push(line.text);
  } else if (line.kind === "summary") {
    to.summary = line;
  }
}

/** A resumed run repeats the steps after its checkpoint: the later line counts. */
function cutBack(steps: number[], step: number, values: number[]): void {
  while (steps.length > 0 && (steps.at(-1) ?? 0) >= step) {
    steps.pop();
    values.pop();
  }
}

function draw(): void {
  if (drawing) return;
  drawing = true;
  // A hidden tab gets no frames; it must still keep up.
  if (document.hidden) setTimeout(show, 250);
  else requestAnimationFrame(show);
}

function show(): void {
  drawing = false;
  live.value = state && { ...state };
}
