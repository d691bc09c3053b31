// Private files in memory for a Worker whose browser has no synchronous file access (WebKitGTK, some private
// windows). They last as long as the Worker. Only the part of the File System API that the Lab uses.

class MemoryFile {
  readonly kind = "file";
  #bytes = new Uint8Array();
  #size = 0;

  constructor(readonly name: string) {}

  async getFile(): Promise<File> {
    return new File([this.#bytes.slice(0, this.#size)], this.name);
  }

  async createSyncAccessHandle(): Promise<Pick<FileSystemSyncAccessHandle, "read" | "write" | "truncate" | "getSize" | "flush" | "close">> {
    return {
      read: (into, { at = 0 } = {}) => {
        const from = this.#bytes.subarray(Math.min(at, this.#size), this.#size);
        const to = asBytes(into);
        const read = Math.min(from.length, to.length);
        to.set(from.subarray(0, read));
        return read;
      },
      write: (from, { at = 0 } = {}) => {
        const bytes = asBytes(from);
        this.#reach(at + bytes.length);
        this.#bytes.set(bytes, at);
        this.#size = Math.max(this.#size, at + bytes.length);
        return bytes.length;
      },
      truncate: (size) => {
        this.#reach(size);
        this.#bytes.fill(0, Math.min(size, this.#size));
        this.#size = size;
      },
      getSize: () => this.#size,
      flush: () => {},
      close: () => {},
    };
  }

  #reach(size: number): void {
    if (size <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(size, 2 * this.#bytes.length));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

class MemoryFolder {
  readonly kind = "directory";
  readonly #entries = new Map<string, MemoryFile | MemoryFolder>();

  constructor(readonly name: string) {}

  getDirectoryHandle = async (name: string, options?: { create?: boolean }) => this.#get(name, MemoryFolder, options);
  getFileHandle = async (name: string, options?: { create?: boolean }) => this.#get(name, MemoryFile, options);

  async removeEntry(name: string): Promise<void> {
    if (!this.#entries.delete(name)) throw missing(name);
  }

  async *values() {
    yield* this.#entries.values();
  }

  async *keys() {
    yield* this.#entries.keys();
  }

  #get<T extends MemoryFile | MemoryFolder>(name: string, kind: new (name: string) => T, { create = false } = {}): T {
    const found = this.#entries.get(name);
    if (found instanceof kind) return found;
    if (found) throw new DOMException(`${name} has another kind`, "TypeMismatchError");
    if (!create) throw missing(name);
    const made = new kind(name);
    this.#entries.set(name, made);
    return made;
  }
}

const missing = (name: string) => new DOMException(`${name} does not exist`, "NotFoundError");

const asBytes = (of: AllowSharedBufferSource) =>
  ArrayBuffer.isView(of) ? new Uint8Array(of.buffer, of.byteOffset, of.byteLength) : new Uint8Array(of);

/** Whether the browser keeps files for this Worker; if not, files are kept in memory from now on. */
export async function keepsFiles(): Promise<boolean> {
  try {
    const root = await navigator.storage.getDirectory();
    const probe = `probe-${crypto.randomUUID()}`; // a file allows one writer, and there are several Workers
    const handle = await (await root.getFileHandle(probe, { create: true })).createSyncAccessHandle();
    handle.close();
    await root.removeEntry(probe);
    return true;
  } catch {
    const root = new MemoryFolder("");
    const estimate = async () => ({});
    Object.defineProperty(navigator, "storage", { value: { getDirectory: async () => root, estimate } });
    return false;
  }
}
