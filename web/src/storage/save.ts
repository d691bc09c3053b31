// Saves a file to the user's machine.

/** Offers a file for download. */
export function save(name: string, type: string, what: BlobPart): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([what], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
