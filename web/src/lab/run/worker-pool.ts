// The pool of Workers that compute gradients in parallel to the main Worker: on `cpu` a Worker is a thread.

import type { ModelInfo, Spec } from "../../spec";
import type { DeviceName } from "../../wasm/protocol";
import { Session } from "../../wasm/session";
import { busy, webgpu } from "./state";
import { loadDevice, loadTask, type WorkerHandle } from "./worker-handle";

/** Workers that compute a part of each gradient. */
const pool: WorkerHandle[] = [];

/** The maximal number of threads of a run on `cpu`; more are not faster for small batches. */
const THREADS = 4;
/** The maximal bytes of weights that the whole pool may hold. */
const HELD_BY_POOL = 1 << 30;

/** The number of Workers for a run of a model, in addition to the main Worker. */
function workersFor(model: ModelInfo, device: DeviceName): number {
  // They load the model from the files that all Workers share.
  if (device !== "cpu" || webgpu.value?.keepsFiles === false) return 0;
  const threads = Math.min(navigator.hardwareConcurrency, THREADS) - 1;
  return Math.max(0, Math.min(threads, Math.floor(HELD_BY_POOL / (4 * model.parameters))));
}

/** Returns ports to Workers that are ready for a run of the spec; none if they cannot be started. */
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
      // It settles when the run ends; its errors reach the run through the port.
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
    if (busy.value) main.session.end(`A Worker of the pool was lost: ${reason}`);
  };
  const handle: WorkerHandle = { session: new Session({ event() {}, download() {}, transfer() {}, ended }) };
  return handle;
}

/** Ends all Workers of the pool. */
export function dismissWorkers(): void {
  for (const { session } of pool.splice(0)) session.end("No longer needed.");
}
