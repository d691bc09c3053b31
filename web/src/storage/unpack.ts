// Files out of a zip archive, which is in memory as a whole.

import { unzipSync } from "fflate";

const LARGEST_ARCHIVE = 1e9;
/** The largest file that is unpacked. */
const LARGEST = 256 * 1024 * 1024;

/** The files of an archive whose path is like `wanted`. Throws a sentence where it can not be unpacked. */
export async function unpack(file: File, wanted: RegExp): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  if (file.size > LARGEST_ARCHIVE)
    throw new Error(`${file.name}: ${Math.round(file.size / 1e6)} MB, expected an archive of at most ${LARGEST_ARCHIVE / 1e6} MB.`);
  const belongs = ({ name, originalSize }: { name: string; originalSize: number }) => wanted.test(name) && originalSize <= LARGEST;
  try {
    return unzipSync(new Uint8Array(await file.arrayBuffer()), { filter: belongs }) as Record<string, Uint8Array<ArrayBuffer>>;
  } catch (error) {
    throw new Error(`${file.name}: can not be unpacked (${error instanceof Error ? error.message : String(error)}).`);
  }
}
