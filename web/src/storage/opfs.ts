// The tab's own store: the origin private file system.
//
//   runs/<run id>-<device>.jsonl                       records
//   checkpoints/<run id>-<device>.{0,1}.safetensors    the last two of a run that has not ended
//   thetas/<run id>-<device>.safetensors               what a run tuned
//   models/<name>/{source.json, ...}                   files of models, or the beginning of them
//   tasks/<name>/{train,dev,test}.*                    the user's own data
//
// The Worker writes all but the last, which is the page's.

/** A folder of the store, or nothing where the browser gives none. */
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
      // Being written at this moment; the page has its lines anyway.
    }
  }
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

export async function folders(...path: string[]): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of (await folder(...path))?.values() ?? []) {
    if (entry.kind === "directory") found.push(entry.name);
  }
  return found.sort();
}

/** A file, or nothing where there is none. */
export async function file(path: string[], name: string): Promise<File | undefined> {
  try {
    const handle = await (await folder(...path))?.getFileHandle(name);
    return await handle?.getFile();
  } catch {
    return undefined;
  }
}

/** Writes a file; false where the browser has no store or it is full. */
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

/** Removes a file or a folder with all in it; what is not there is no error. */
export async function remove(path: string[], name: string): Promise<void> {
  try {
    await (await folder(...path))?.removeEntry(name, { recursive: true });
  } catch {
    // Not there.
  }
}
