// Runs in the tab's own store, as the Worker keeps them: by run id and device, because
// a spec that is run on two devices leaves two records.

import * as store from "./opfs";

const RECORD = /^[0-9a-f]{16}-[a-z0-9]+\.jsonl$/;
const checkpoints = (name: string) => [0, 1].map((place) => `${name}.${place}.safetensors`);

/** The name of what a run on a device left, as Rust's `record_name` makes it. */
export const recordName = ({ run, device }: { run: string; device: string }) => `${run}-${device.replaceAll(":", "")}`;

/** The text of every record. */
export async function* records(): AsyncGenerator<string> {
  for (const file of await store.files("runs")) if (RECORD.test(file.name) && file.size > 0) yield await file.text();
}

export const readRecord = async (name: string) => (await store.file(["runs"], `${name}.jsonl`))?.text();

/** What a run tuned, a theta file. */
export const readTheta = (name: string) => store.file(["thetas"], `${name}.safetensors`);

/** Whether a run can go on from where it was. */
export async function hasCheckpoint(name: string): Promise<boolean> {
  const found = await Promise.all(checkpoints(name).map((file) => store.file(["checkpoints"], file)));
  return found.some((file) => file && file.size > 0);
}

/** Removes a run with all it left. */
export async function removeRun(name: string): Promise<void> {
  await store.remove(["runs"], `${name}.jsonl`);
  await store.remove(["thetas"], `${name}.safetensors`);
  for (const file of checkpoints(name)) await store.remove(["checkpoints"], file);
}
