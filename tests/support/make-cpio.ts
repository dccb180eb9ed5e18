/** Makes initial RAM file systems: the "newc" cpio format ("initramfs buffer format" of the Linux documentation). */
export interface CpioEntry {
  readonly name: string;
  /** File type and permissions as in `st_mode`. */
  readonly mode: number;
  /** Contents of a file, target of a symbolic link. */
  readonly data?: Uint8Array | string;
  /** Major and minor number of a device. */
  readonly device?: readonly [number, number];
}

const padded = (n: number): number => Math.ceil(n / 4) * 4;

export function makeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const push = (bytes: Uint8Array): void => {
    const part = new Uint8Array(padded(bytes.length));
    part.set(bytes);
    parts.push(part);
  };
  [...entries, { name: 'TRAILER!!!', mode: 0 }].forEach((entry: CpioEntry, i) => {
    const data =
      typeof entry.data === 'string' ? new TextEncoder().encode(entry.data) : (entry.data ?? new Uint8Array());
    const [major, minor] = entry.device ?? [0, 0];
    // Inode, mode, uid, gid, links, mtime, size, device of the file, of the special file, length of the name, checksum.
    const fields = [i + 1, entry.mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, entry.name.length + 1, 0];
    const header = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    push(new TextEncoder().encode(`070701${header}${entry.name}\0`));
    push(data);
  });
  return Buffer.concat(parts);
}
