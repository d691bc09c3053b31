// What is dropped on the page: files, or a folder's files.

export interface Dropped {
  files: File[];
  /** The folder's name; empty for files alone. */
  folder: string;
}

/** Must be called in the event itself: later its data is gone. */
export async function droppedFiles(data: DataTransfer): Promise<Dropped> {
  const files = [...data.files];
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.());
  const folder = entries.find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined;
  return folder ? { files: await filesOf(folder), folder: folder.name } : { files, folder: "" };
}

/** The files of a folder; what lies in folders of it is left out. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const found: FileSystemEntry[] = [];
  for (;;) {
    // A browser gives them in pieces, the last one empty.
    const piece = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
    if (piece.length === 0) break;
    found.push(...piece);
  }
  const files = found.filter((entry): entry is FileSystemFileEntry => entry.isFile);
  return Promise.all(files.map((entry) => new Promise<File>((done, failed) => entry.file(done, failed))));
}
