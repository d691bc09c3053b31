// A Parquet table's rows as JSON: apet-study makes records of them.

import { parquetReadObjects, toJson } from "hyparquet";

export async function rowsOf(file: File): Promise<string> {
  return JSON.stringify(toJson(await parquetReadObjects({ file: await file.arrayBuffer() })));
}
