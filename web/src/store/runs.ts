// Runs in the tab's own store, as the Worker keeps them.

import * as store from "./opfs";

const RECORD = /^([0-9a-f]{16})\.jsonl$/;
const checkpoints = (run: string) => [0, 1].map((place) => `${run}.${place}.safetensors`);

/** The text of every record. */
export async function* records(): AsyncGenerator<string> {
  for (const file of await store.files("runs")) if (RECORD.test(file.name) && file.size > 0) yield await file.text();
}

export const readRecord = async (run: string) => (await store.file(["runs"], `${run}.jsonl`))?.text();

/** Whether a run can go on from where it was. */
export async function hasCheckpoint(run: string): Promise<boolean> {
  const found = await Promise.all(checkpoints(run).map((name) => store.file(["checkpoints"], name)));
  return found.some((file) => file && file.size > 0);
}

/** Removes a run with all it left. */
export async function removeRun(run: string): Promise<void> {
  await store.remove(["runs"], `${run}.jsonl`);
  await store.remove(["thetas"], `${run}.safetensors`);
  for (const name of checkpoints(run)) await store.remove(["checkpoints"], name);
}
