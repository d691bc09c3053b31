// Reads what is dropped on the page: files, or the files of a folder.

/** Dropped files. */
export interface Dropped {
  files: File[];
  /** The folder's name; empty for single files. */
  folder: string;
}

/** Must be called within the event handler: afterwards the data is gone. */
export async function droppedFiles(data: DataTransfer): Promise<Dropped> {
  const files = [...data.files];
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.());
  const folder = entries.find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined;
  return folder ? { files: await filesOf(folder), folder: folder.name } : { files, folder: "" };
}

/** The files of a folder, without those of its subfolders. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const found: FileSystemEntry[] = [];
  for (;;) {
    // Browsers return the entries in batches, the last one empty.
    const batch = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
    if (batch.length === 0) break;
    found.push(...batch);
  }
  const files = found.filter((entry): entry is FileSystemFileEntry => entry.isFile);
  return Promise.all(files.map((entry) => new Promise<File>((done, failed) => entry.file(done, failed))));
}
