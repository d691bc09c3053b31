// The run that is on the screen: its record's lines as series for the charts.

import { signal } from "@preact/signals";
import type { Spent } from "../../wasm/protocol";
import { readLine, type Line, type ModelInfo, type Spec, type TaskInfo, type ThetaInfo } from "../../spec";

export interface Live {
  run: string;
  /** By name. */
  device: string;
  spec: Spec;
  model: ModelInfo;
  theta: ThetaInfo;
  task: TaskInfo;
  /** One entry a step, in order. */
  steps: number[];
  losses: number[];
  evalSteps: number[];
  devScores: number[];
  notes: string[];
  /** Of the last step; 0 before the first. */
  msPerStep: number;
  /** Of the last step, padding not counted. */
  tokens: number;
  summary: Extract<Line, { kind: "summary" }> | undefined;
}

export const live = signal<Live | undefined>(undefined);

/** Where the last steps spent their time; absent before the first. */
export const spent = signal<Spent | undefined>(undefined);
/** Of what was spent before, this share still counts. */
const FADES = 0.9;

/** Takes what some steps spent. */
export function spend(now: Spent): void {
  const before = spent.peek();
  const sum = { ...now };
  if (before) for (const part of Object.keys(now) as (keyof Spent)[]) sum[part] += FADES * before[part];
  spent.value = sum;
}

/** The record's text as far as it is known, for Results while the run goes on. */
let text = "";
let lastMs: { step: number; ms: number } | undefined;
let drawing = false;
let state: Live | undefined;

export const liveText = () => text;
/** The run as far as it is known, ahead of what is drawn of it. */
export const currentRun = (): Live | undefined => state;

/** Shows a run from the lines it wrote earlier (none for a new one). */
export function begin(earlier = ""): void {
  text = "";
  state = undefined;
  lastMs = undefined;
  spent.value = undefined;
  for (const line of earlier.split("\n")) if (line) take(line);
  show();
}

/** Takes one line of the record; charts follow at the screen's pace. */
export function take(lineText: string): Line | undefined {
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

function follow(to: Live, line: Line): void {
  if (line.kind === "step") {
    cutBack(to.steps, line.step, to.losses);
    to.steps.push(line.step);
    to.losses.push(line.loss);
    to.tokens = line.tokens;
    // Where losses are read a few steps at a time, those steps carry one time.
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

/** A resumed run does steps again that came after its checkpoint: the later line counts. */
function cutBack(steps: number[], step: number, values: number[]): void {
  while (steps.length > 0 && (steps.at(-1) ?? 0) >= step) {
    steps.pop();
    values.pop();
  }
}

function draw(): void {
  if (drawing) return;
  drawing = true;
  // A hidden tab has no frames; it must not fall behind for ever.
  if (document.hidden) setTimeout(show, 250);
  else requestAnimationFrame(show);
}

function show(): void {
  drawing = false;
  live.value = state && { ...state };
}
