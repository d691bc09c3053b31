// Runs in this browser's store, as the Worker writes them: by run id and device, because
// a spec that ran on two devices has two records.

import * as store from "./opfs";

const RECORD = /^[0-9a-f]{16}-[a-z0-9]+\.jsonl$/;
const checkpoints = (name: string) => [0, 1].map((place) => `${name}.${place}.safetensors`);

/** The name of the files of a run on a device, the same as Rust's `record_name`. */
export const recordName = ({ run, device }: { run: string; device: string }) => `${run}-${device.replaceAll(":", "")}`;

/** The text of every record. */
export async function* records(): AsyncGenerator<string> {
  for (const file of await store.files("runs")) if (RECORD.test(file.name) && file.size > 0) yield await file.text();
}

/** The record of a run, by its name. */
export const readRecord = async (name: string) => (await store.file(["runs"], `${name}.jsonl`))?.text();

/** The theta file of a run. */
export const readTheta = (name: string) => store.file(["thetas"], `${name}.safetensors`);

/** Whether a run has a checkpoint to resume from. */
export async function hasCheckpoint(name: string): Promise<boolean> {
  const found = await Promise.all(checkpoints(name).map((file) => store.file(["checkpoints"], file)));
  return found.some((file) => file && file.size > 0);
}

/** Removes a run with all its files. */
export async function removeRun(name: string): Promise<void> {
  await store.remove(["runs"], `${name}.jsonl`);
  await store.remove(["thetas"], `${name}.safetensors`);
  for (const file of checkpoints(name)) await store.remove(["checkpoints"], file);
}
