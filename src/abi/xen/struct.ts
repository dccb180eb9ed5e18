/**
 * One description of a Xen structure, two layouts.
 *
 * `native` is the layout of 64-bit callers, `compat` that of 32-bit ones (i386 System V): there `unsigned long` and guest
 * handles are 4 bytes wide, and 64-bit integers are aligned to 4. A description yields sizes, offsets, a reader, a
 * writer and a printer, so that nothing else in the project knows an offset of a Xen structure.
 *
 * Values: types of up to 32 bits are numbers, everything wider (and everything whose width depends on the layout) is a bigint.
 */
export type Layout = 'native' | 'compat';

export interface Type<T> {
  readonly name: string;
  size(layout: Layout): number;
  align(layout: Layout): number;
  read(view: DataView, at: number, layout: Layout): T;
  write(view: DataView, at: number, value: T, layout: Layout): void;
  print(value: T): string;
}

/** The value type of a description. */
export type ValueOf<D> = D extends Type<infer T> ? T : never;

const hex = (value: number | bigint): string => (value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);

function scalar<T extends number | bigint>(
  name: string,
  size: number,
  read: (view: DataView, at: number) => T,
  write: (view: DataView, at: number, value: T) => void,
): Type<T> {
  return {
    name,
    size: () => size,
    align: (layout) => (layout === 'compat' ? Math.min(size, 4) : size),
    read,
    write,
    print: hex,
  };
}

export const u8: Type<number> = scalar(
  'u8',
  1,
  (v, at) => v.getUint8(at),
  (v, at, n: number) => v.setUint8(at, n),
);
export const s8: Type<number> = scalar(
  's8',
  1,
  (v, at) => v.getInt8(at),
  (v, at, n: number) => v.setInt8(at, n),
);
export const u16: Type<number> = scalar(
  'u16',
  2,
  (v, at) => v.getUint16(at, true),
  (v, at, n: number) => v.setUint16(at, n, true),
);
export const s16: Type<number> = scalar(
  's16',
  2,
  (v, at) => v.getInt16(at, true),
  (v, at, n: number) => v.setInt16(at, n, true),
);
export const u32: Type<number> = scalar(
  'u32',
  4,
  (v, at) => v.getUint32(at, true),
  (v, at, n: number) => v.setUint32(at, n, true),
);
export const s32: Type<number> = scalar(
  's32',
  4,
  (v, at) => v.getInt32(at, true),
  (v, at, n: number) => v.setInt32(at, n, true),
);
export const u64: Type<bigint> = scalar(
  'u64',
  8,
  (v, at) => v.getBigUint64(at, true),
  (v, at, n: bigint) => v.setBigUint64(at, n, true),
);
export const s64: Type<bigint> = scalar(
  's64',
  8,
  (v, at) => v.getBigInt64(at, true),
  (v, at, n: bigint) => v.setBigInt64(at, n, true),
);

function pointerWide(name: string): Type<bigint> {
  const size = (layout: Layout): number => (layout === 'native' ? 8 : 4);
  return {
    name,
    size,
    align: size,
    read: (view, at, layout) => (layout === 'native' ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true))),
    write: (view, at, value, layout) => {
      if (layout === 'native') view.setBigUint64(at, value, true);
      else view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
    },
    print: hex,
  };
}

/** `unsigned long` / `xen_pfn_t` / `xen_ulong_t`: 8 bytes native, 4 compat. */
export const ulong: Type<bigint> = pointerWide('ulong');
/** Guest handle (a linear address of the caller): 8 bytes native, 4 compat. */
export const handle: Type<bigint> = pointerWide('handle');

/** A number of raw bytes: text and padding. Reads are copies; short values are padded with zeros. */
export function bytes(length: number): Type<Uint8Array> {
  return {
    name: `u8[${length}]`,
    size: () => length,
    align: () => 1,
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, length).slice(),
    write: (view, at, value) => {
      const target = new Uint8Array(view.buffer, view.byteOffset + at, length);
      target.fill(0);
      target.set(value.subarray(0, length));
    },
    print: (value) => `[${value.length} bytes]`,
  };
}

export function array<T>(element: Type<T>, length: number): Type<T[]> {
  return {
    name: `${element.name}[${length}]`,
    size: (layout) => element.size(layout) * length,
    align: (layout) => element.align(layout),
    read: (view, at, layout) => {
      const step = element.size(layout);
      return Array.from({ length }, (_, i) => element.read(view, at + i * step, layout));
    },
    write: (view, at, value, layout) => {
      const step = element.size(layout);
      for (let i = 0; i < length; i++) element.write(view, at + i * step, value[i], layout);
    },
    print: (value) => `[${value.map((v) => element.print(v)).join(', ')}]`,
  };
}

export type Fields = Readonly<Record<string, Type<unknown>>>;
export type Record_<F extends Fields> = { -readonly [K in keyof F]: ValueOf<F[K]> };

export interface StructType<F extends Fields> extends Type<Record_<F>> {
  readonly fields: F;
  /** Byte offset of a field. */
  offset(field: keyof F & string, layout: Layout): number;
  /** Reads / writes one field of a structure that starts at `at`. */
  get<K extends keyof F & string>(view: DataView, at: number, field: K, layout: Layout): ValueOf<F[K]>;
  set<K extends keyof F & string>(view: DataView, at: number, field: K, value: ValueOf<F[K]>, layout: Layout): void;
}

interface Placement {
  readonly size: number;
  readonly align: number;
  readonly offsets: ReadonlyMap<string, number>;
}

/** Where the fields are in each layout; found out when first asked. */
type Places = (layout: Layout) => Placement;

const places = (place: Places): Places => {
  const known: Partial<Record<Layout, Placement>> = {};
  return (layout) => {
    known[layout] ??= place(layout);
    return known[layout];
  };
};

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/** A C structure: fields in order, each at its alignment, the whole padded to the largest. */
export function struct<F extends Fields>(name: string, fields: F): StructType<F> {
  const place = (layout: Layout): Placement => {
    let at = 0;
    let align = 1;
    const offsets = new Map<string, number>();
    for (const [field, type] of Object.entries(fields)) {
      align = Math.max(align, type.align(layout));
      at = roundUp(at, type.align(layout));
      offsets.set(field, at);
      at += type.size(layout);
    }
    return { size: roundUp(at, align), align, offsets };
  };
  return record(name, fields, places(place), false);
}

/** A C union: every member at offset 0. A read decodes all members; a write stores only members that are given. */
export function union<F extends Fields>(name: string, fields: F): StructType<F> & Type<Partial<Record_<F>>> {
  const place = (layout: Layout): Placement => {
    const types = Object.values(fields);
    const align = Math.max(1, ...types.map((t) => t.align(layout)));
    return {
      size: roundUp(Math.max(0, ...types.map((t) => t.size(layout))), align),
      align,
      offsets: new Map(Object.keys(fields).map((field) => [field, 0])),
    };
  };
  return record(name, fields, places(place), true);
}

function record<F extends Fields>(name: string, fields: F, placeIn: Places, sparse: boolean): StructType<F> {
  const names = Object.keys(fields);
  const offset = (field: string, layout: Layout): number => {
    const at = placeIn(layout).offsets.get(field);
    if (at === undefined) throw new RangeError(`${name} has no field ${field}`);
    return at;
  };
  return {
    name,
    fields,
    size: (layout) => placeIn(layout).size,
    align: (layout) => placeIn(layout).align,
    offset,
    get: (view, at, field, layout) => fields[field].read(view, at + offset(field, layout), layout) as never,
    set: (view, at, field, value, layout) => fields[field].write(view, at + offset(field, layout), value, layout),
    read: (view, at, layout) => {
      const value: Record<string, unknown> = {};
      for (const field of names) value[field] = fields[field].read(view, at + offset(field, layout), layout);
      return value as Record_<F>;
    },
    write: (view, at, value, layout) => {
      const given = value as Record<string, unknown>;
      for (const field of names) {
        if (sparse && given[field] === undefined) continue;
        fields[field].write(view, at + offset(field, layout), given[field], layout);
      }
    },
    print: (value) => {
      const given = value as Record<string, unknown>;
      const parts = names.filter((f) => given[f] !== undefined).map((f) => `${f}=${fields[f].print(given[f])}`);
      return `{${parts.join(' ')}}`;
    },
  };
}

/** Encodes a value to fresh bytes. */
export function encode<T>(type: Type<T>, value: T, layout: Layout): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(type.size(layout));
  type.write(new DataView(out.buffer), 0, value, layout);
  return out;
}

/** Decodes a value from bytes. */
export function decode<T>(type: Type<T>, from: Uint8Array, layout: Layout): T {
  return type.read(new DataView(from.buffer, from.byteOffset, from.byteLength), 0, layout);
}
