// Runs on the serving machine, if `apet serve --allow-runs` lets the page start them: they train natively,
// and the page follows their records.

import { errorText } from "../../format";
import { signal } from "@preact/signals";
import { address } from "../../storage/catalogue";
import { addRecord, SERVER } from "../../records/records";
import type { Spec } from "../../spec";
import { begin } from "./live";
import { keep, kept } from "../../storage/local";
import { ownTasks } from "../../storage/own-tasks";
import { busy, phase, problem, progress } from "./state";

/** The chosen device of the serving machine; empty if this tab trains. */
export const serverDevice = signal("");

/** A requested run, as the server describes it. */
interface Job {
  run: string;
  device: string;
  file: string;
  place: "waiting" | "running" | "ended";
  /** Whether its record exists. */
  recorded: boolean;
  error: string;
}

/** The run that the page follows. */
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
  if (!response.ok) throw new Error((await response.text()).trim() || `The server answered ${response.status}.`);
  return (await response.json()) as T;
}

/** The key under which the followed run survives a reload. */
const KEPT = "apet-there";

const rememberJob = (job: Job | undefined): void => keep(KEPT, job, "sessionStorage");

/** Starts a run of a spec on the server, and follows it to its end. */
export async function trainOnServer(spec: Spec, device: string): Promise<void> {
  if (ownTasks.value.some((task) => task.name === spec.task.name)) {
    problem.value = `The data of "${spec.task.name}" is only in this browser; train on it in this tab.`;
    return;
  }
  await watch(() => ask<Job>("api/runs", { spec, device }));
}

/** Resumes following a run after a reload, if the server still has it. */
export async function findServerRun(): Promise<void> {
  try {
    const followed = kept(KEPT, "sessionStorage") as Job | undefined;
    if (!followed || busy.value) return;
    const jobs = await ask<Job[]>("api/runs");
    const mine = jobs.findLast((j) => j.run === followed.run && j.device === followed.device && j.place !== "ended");
    if (!mine || busy.value) return rememberJob(undefined);
    serverDevice.value = mine.device;
    await watch(() => Promise.resolve(mine));
  } catch {
    // The host does not train.
  }
}

/** The server's runs; retries while the server does not respond. */
async function serverJobs(): Promise<Job[]> {
  for (;;) {
    try {
      return await ask<Job[]>("api/runs");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      progress.value = "the server is not responding; retrying";
      await new Promise((done) => setTimeout(done, 2000));
      if (phase.value === "stopping") throw new Error("The server is not responding; the run continues there.");
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
    rememberJob(now);
    let shown = "";
    for (;;) {
      const jobs = await serverJobs();
      const mine = jobs.findLast((j) => j.run === now.run && j.device === now.device);
      if (!mine) throw new Error("The server was restarted and has lost the run; its record is in Results.");
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
    problem.value = errorText(error);
  } finally {
    rememberJob(undefined);
    job.value = undefined;
    phase.value = "idle";
    progress.value = "";
  }
}

/** Shows the record if it is longer than `shown`. */
async function follow({ file, recorded }: Job, shown: string): Promise<string> {
  if (!recorded) return shown;
  const response = await fetch(address(`api/records/${encodeURIComponent(file)}`), { cache: "no-store" }).catch(() => undefined);
  const text = response?.ok ? await response.text() : "";
  if (text === shown || text === "") return shown;
  begin(text);
  addRecord(SERVER, text, `server: ${file}`);
  return text;
}

/** Stops the followed run after its current step. */
export async function stopOnServer(): Promise<void> {
  if (!job.value) return;
  phase.value = "stopping";
  const { run, device } = job.value;
  await ask("api/runs/stop", { run, device }).catch((error: unknown) => {
    problem.value = errorText(error);
  });
}
