// This browser's store: the origin private file system (OPFS).
//
//   runs/<run id>-<device>.jsonl                       records
//   checkpoints/<run id>-<device>.{0,1}.safetensors    the last two of an unfinished run
//   thetas/<run id>-<device>.safetensors               what a run trained
//   models/<name>/{source.json, ...}                   files of models, or the downloaded part of them
//   tasks/<name>/{train,dev,test}.*                    the user's own data
//
// The Worker writes all but the tasks, which the page writes.

/** A folder of the store, or `undefined` if the browser has no OPFS. */
export async function folder(...path: string[]): Promise<FileSystemDirectoryHandle | undefined> {
  try {
    let at = await navigator.storage.getDirectory();
    for (const name of path) at = await at.getDirectoryHandle(name, { create: true });
    return at;
  } catch {
    return undefined;
  }
}

/** The files of a folder, by name. */
export async function files(...path: string[]): Promise<File[]> {
  const found: File[] = [];
  for await (const entry of (await folder(...path))?.values() ?? []) {
    if (entry.kind !== "file") continue;
    try {
      found.push(await (entry as FileSystemFileHandle).getFile());
    } catch {
      // It is being written right now; the page has its lines anyway.
    }
  }
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

/** The names of a folder's subfolders. */
export async function folders(...path: string[]): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of (await folder(...path))?.values() ?? []) {
    if (entry.kind === "directory") found.push(entry.name);
  }
  return found.sort();
}

/** A file, or `undefined` if it does not exist. */
export async function file(path: string[], name: string): Promise<File | undefined> {
  try {
    const handle = await (await folder(...path))?.getFileHandle(name);
    return await handle?.getFile();
  } catch {
    return undefined;
  }
}

/** Writes a file; `false` if the browser has no OPFS or it is full. */
export async function write(path: string[], name: string, content: Blob | string): Promise<boolean> {
  try {
    const handle = await (await folder(...path))?.getFileHandle(name, { create: true });
    const stream = await handle?.createWritable();
    if (!stream) return false;
    await stream.write(content);
    await stream.close();
    return true;
  } catch {
    return false;
  }
}

/** Removes a file, or a folder with its contents; a missing one is no error. */
export async function remove(path: string[], name: string): Promise<void> {
  try {
    await (await folder(...path))?.removeEntry(name, { recursive: true });
  } catch {
    // It does not exist.
  }
}
