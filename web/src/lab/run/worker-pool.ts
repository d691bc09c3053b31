// Workers that help a run's own one: on `cpu` a Worker is a thread.

import type { ModelInfo, Spec } from "../../spec";
import type { DeviceName } from "../../wasm/protocol";
import { Session } from "../../wasm/session";
import { busy, webgpu } from "./state";
import { loadDevice, loadTask, type WorkerHandle } from "./worker-handle";

/** Workers that compute a part of each gradient. */
const pool: WorkerHandle[] = [];

/** Threads that a run on `cpu` may have; more do not pay for batches of a few rows. */
const THREADS = 4;
/** Bytes of weights that all pool together may hold. */
const HELD_BY_POOL = 1 << 30;

/** Workers that a run of the model may have beside its own. */
function workersFor(model: ModelInfo, device: DeviceName): number {
  // They have the model from the files that all Workers share.
  if (device !== "cpu" || webgpu.value?.keepsFiles === false) return 0;
  const threads = Math.min(navigator.hardwareConcurrency, THREADS) - 1;
  return Math.max(0, Math.min(threads, Math.floor(HELD_BY_POOL / (4 * model.parameters))));
}

/** Ports to pool that are ready for a run of the spec; none where that fails. */
export async function spawnWorkers(
  spec: Spec,
  specText: string,
  model: ModelInfo,
  device: DeviceName,
  main: WorkerHandle,
): Promise<MessagePort[]> {
  const ports: MessagePort[] = [];
  try {
    for (let number = 0; number < workersFor(model, device); number++) {
      const handle = (pool[number] ??= newWorker(main));
      await loadDevice(handle, device);
      handle.model ??= await handle.session.call("kept", model.name, main.weights ?? []);
      await loadTask(handle, spec);
      const { port1, port2 } = new MessageChannel();
      // Its end is the run's end; why it fails, the run hears through the port.
      void handle.session.call("assist", specText, port2).catch(() => {});
      ports.push(port1);
    }
  } catch {
    dismissWorkers();
    return [];
  }
  return ports;
}

function newWorker(main: WorkerHandle): WorkerHandle {
  const ended = (reason: string) => {
    const at = pool.indexOf(handle);
    if (at < 0) return; // dismissed
    pool.splice(at, 1);
    if (busy.value) main.session.end(`A helping Worker was lost: ${reason}`);
  };
  const handle: WorkerHandle = { session: new Session({ event() {}, download() {}, transfer() {}, ended }) };
  return handle;
}

/** Ends all of them. */
export function dismissWorkers(): void {
  for (const { session } of pool.splice(0)) session.end("No longer needed.");
}
