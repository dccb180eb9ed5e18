/** The few ACPI Machine Language terms a DSDT of processors needs (ACPI specification, "ACPI Machine Language"). */
import { fromLatin1 } from '../bytes.ts';

export const concat = (...parts: readonly (readonly number[] | Uint8Array)[]): Uint8Array => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
};

/** PkgLength in front of a body; it counts its own bytes. */
export function packaged(body: Uint8Array): Uint8Array {
  const { length } = body;
  if (length + 1 < 0x40) return concat([length + 1], body);
  if (length + 2 < 0x1000) return concat([0x40 | ((length + 2) & 15), (length + 2) >> 4], body);
  const size = length + 3;
  return concat([0x80 | (size & 15), (size >> 4) & 255, (size >> 12) & 255], body);
}

/** NameSeg: four characters, padded with underscores. */
export const nameSegment = (name: string): Uint8Array => fromLatin1(name.padEnd(4, '_'));
const root = (name: string): Uint8Array => concat([0x5c], nameSegment(name));

export const integer = (value: number): Uint8Array => {
  if (value === 0 || value === 1) return Uint8Array.of(value);
  return value < 256 ? Uint8Array.of(0x0a, value) : Uint8Array.of(0x0b, value & 255, value >> 8);
};
export const text = (value: string): Uint8Array => concat([0x0d], fromLatin1(value), [0]);
export const named = (name: string, value: Uint8Array): Uint8Array => concat([0x08], nameSegment(name), value);
/** Scope of a name directly under the root. */
export const scope = (name: string, ...body: readonly Uint8Array[]): Uint8Array =>
  concat([0x10], packaged(concat(root(name), ...body)));
/** Processor object without a register block. `id` is the ACPI processor id of its MADT entry. */
export const processor = (name: string, id: number, ...body: readonly Uint8Array[]): Uint8Array =>
  concat([0x5b, 0x83], packaged(concat(nameSegment(name), [id, 0, 0, 0, 0, 0], ...body)));
