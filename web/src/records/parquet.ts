// Reads the rows of a Parquet table as JSON, from which apet-study makes records.

import { parquetReadObjects, toJson } from "hyparquet";

/** The rows of a Parquet file, as JSON. */
export async function rowsOf(file: File): Promise<string> {
  return JSON.stringify(toJson(await parquetReadObjects({ file: await file.arrayBuffer() })));
}
