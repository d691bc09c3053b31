// Reads files from a zip archive, which is held in memory as a whole.

import { errorText } from "../format";
import { unzipSync } from "fflate";

const LARGEST_ARCHIVE = 1e9;
/** Larger files are skipped. */
const LARGEST = 256 * 1024 * 1024;

/** The files of an archive whose path matches `wanted`. Throws an error to show if it cannot be unpacked. */
export async function unpack(file: File, wanted: RegExp): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  if (file.size > LARGEST_ARCHIVE)
    throw new Error(`${file.name}: ${Math.round(file.size / 1e6)} MB, expected an archive of at most ${LARGEST_ARCHIVE / 1e6} MB.`);
  const belongs = ({ name, originalSize }: { name: string; originalSize: number }) => wanted.test(name) && originalSize <= LARGEST;
  try {
    return unzipSync(new Uint8Array(await file.arrayBuffer()), { filter: belongs }) as Record<string, Uint8Array<ArrayBuffer>>;
  } catch (error) {
    throw new Error(`${file.name}: cannot be unpacked (${errorText(error)}).`);
  }
}
