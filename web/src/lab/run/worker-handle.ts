// A Worker of the page, and what it has loaded.

import type { ModelInfo, Spec, TaskInfo } from "../../spec";
import { address, tasks } from "../../storage/catalogue";
import { ownTasks, sourcesOf } from "../../storage/own-tasks";
import type { SplitSources, WeightFile } from "../../storage/sources";
import type { Device, DeviceName } from "../../wasm/protocol";
import type { Session } from "../../wasm/session";
import { progress } from "./state";

/** A Worker and what it has loaded. */
export interface WorkerHandle {
  session: Session;
  device?: Device;
  wanted?: DeviceName;
  model?: ModelInfo;
  /** The model's weight files in the store. */
  weights?: WeightFile[];
  task?: TaskInfo;
  taskKey?: string;
}

/** Opens a device in a Worker. */
export async function loadDevice(to: WorkerHandle, device: DeviceName): Promise<Device> {
  if (to.device) return to.device;
  progress.value = "Starting the Lab";
  to.wanted = device;
  return (to.device = await to.session.call("open", device));
}

/** Loads a spec's task into a Worker. */
export async function loadTask(to: WorkerHandle, { task, seeds }: Spec): Promise<TaskInfo> {
  const own = ownTasks.value.find((t) => t.name === task.name);
  const key = JSON.stringify([task, seeds.batches, own?.files.train.size, own?.files.train.lastModified]);
  if (to.task && to.taskKey === key) return to.task;
  delete to.taskKey;
  const files = own ? sourcesOf(own) : sources(task.name);
  to.task = await to.session.call("task", JSON.stringify(task), seeds.batches, files);
  to.taskKey = key;
  return to.task;
}

function sources(task: string): SplitSources {
  const entry = tasks().find((t) => t.name === task);
  if (!entry)
    throw new Error(
      `The task "${task}" is not available here; drop its file on the page, or download it with \`apet fetch --task ${task}\`.`,
    );
  const source = (url: string) => ({ name: url.split("/").pop() ?? url, url: address(url) });
  const { train, dev, test } = entry.files;
  return { train: source(train), ...(dev && { dev: source(dev) }), ...(test && { test: source(test) }) };
}
