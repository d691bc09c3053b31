// Runs on the machine that serves the page, where `apet serve --allow-runs` lets the page start them: they are trained natively,
// and their records are followed as they grow.

import { signal } from "@preact/signals";
import { address } from "../../storage/catalogue";
import { addRecord, SERVER } from "../../records/records";
import type { Spec } from "../../spec";
import { begin } from "./live";
import { ownTasks } from "../../storage/own-tasks";
import { busy, phase, problem, progress } from "./state";

/** The chosen device of that machine; empty where this tab trains. */
export const there = signal("");

/** A run that was asked for, as the server has it. */
interface Job {
  run: string;
  device: string;
  file: string;
  place: "waiting" | "running" | "ended";
  /** Its record has been begun. */
  recorded: boolean;
  error: string;
}

/** The run that is followed. */
export const job = signal<Job | undefined>(undefined);

const LOOK_MS = 500;

async function ask<T>(path: string, body?: unknown): Promise<T> {
  const response = await fetch(address(path), {
    cache: "no-store",
    ...(body !== undefined && {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  });
  if (!response.ok) throw new Error((await response.text()).trim() || `The server answers ${response.status}.`);
  return (await response.json()) as T;
}

/** Where the run that is followed is kept over a reload. */
const KEPT = "apet-there";

function keep(job: Job | undefined): void {
  try {
    if (job) sessionStorage.setItem(KEPT, JSON.stringify(job));
    else sessionStorage.removeItem(KEPT);
  } catch {
    // Then it is not found again; its record is in Results.
  }
}

/** Has a spec trained there, and shows its record until it ends. */
export async function trainThere(spec: Spec, device: string): Promise<void> {
  if (ownTasks.value.some((task) => task.name === spec.task.name)) {
    problem.value = `The rows of "${spec.task.name}" are in this browser alone; train on them in this tab.`;
    return;
  }
  await watch(() => ask<Job>("api/runs", { spec, device }));
}

/** Follows the run that the page was left in, where the server still has it. */
export async function findThere(): Promise<void> {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null") as Job | null;
    if (!kept || busy.value) return;
    const jobs = await ask<Job[]>("api/runs");
    const mine = jobs.findLast((j) => j.run === kept.run && j.device === kept.device && j.place !== "ended");
    if (!mine || busy.value) return keep(undefined);
    there.value = mine.device;
    await watch(() => Promise.resolve(mine));
  } catch {
    // A host that trains nothing.
  }
}

/** The server's runs; asked for again while it does not answer. */
async function jobsThere(): Promise<Job[]> {
  for (;;) {
    try {
      return await ask<Job[]>("api/runs");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      progress.value = "the server does not answer; asking again";
      await new Promise((done) => setTimeout(done, 2000));
      if (phase.value === "stopping") throw new Error("The server does not answer; the run goes on there.");
    }
  }
}

async function watch(start: () => Promise<Job>): Promise<void> {
  phase.value = "starting";
  problem.value = "";
  begin();
  try {
    let now = (job.value = await start());
    const { device } = now;
    keep(now);
    let shown = "";
    for (;;) {
      const jobs = await jobsThere();
      const mine = jobs.findLast((j) => j.run === now.run && j.device === now.device);
      if (!mine) throw new Error("The server was started again and no longer knows the run; its record is in Results.");
      job.value = now = mine;
      const ahead = jobs.slice(0, jobs.indexOf(mine)).filter((j) => j.device === device && j.place !== "ended").length;
      progress.value =
        mine.place === "waiting" ? `waiting for ${ahead === 1 ? "a run" : `${ahead} runs`} on ${device}` : "";
      if (mine.place === "running" && phase.value === "starting") phase.value = "running";
      shown = await follow(mine, shown);
      if (mine.place === "ended") {
        problem.value = mine.error;
        break;
      }
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  } finally {
    keep(undefined);
    job.value = undefined;
    phase.value = "idle";
    progress.value = "";
  }
}

/** Shows what the record has more than `shown`. */
async function follow({ file, recorded }: Job, shown: string): Promise<string> {
  if (!recorded) return shown;
  const response = await fetch(address(`api/records/${encodeURIComponent(file)}`), { cache: "no-store" }).catch(() => undefined);
  const text = response?.ok ? await response.text() : "";
  if (text === shown || text === "") return shown;
  begin(text);
  addRecord(SERVER, text, `server: ${file}`);
  return text;
}

/** Ends the run that is followed after the step it is in. */
export async function stopThere(): Promise<void> {
  if (!job.value) return;
  phase.value = "stopping";
  const { run, device } = job.value;
  await ask("api/runs/stop", { run, device }).catch((error: unknown) => {
    problem.value = error instanceof Error ? error.message : String(error);
  });
}
