/** Branded numbers: plain numbers at run time, not interchangeable for the compiler. */
declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Guest-physical frame number (guest-physical address >> 12). */
export type Gfn = Brand<number, 'Gfn'>;
/** Machine frame number. */
export type Mfn = Brand<number, 'Mfn'>;
export type DomId = Brand<number, 'DomId'>;
export type VcpuId = Brand<number, 'VcpuId'>;
/** Event channel port. */
export type Port = Brand<number, 'Port'>;
/** Nanoseconds of system time (since the machine started). */
export type Nanoseconds = Brand<bigint, 'Nanoseconds'>;

export const gfn = (n: number): Gfn => n as Gfn;
export const mfn = (n: number): Mfn => n as Mfn;
export const domId = (n: number): DomId => n as DomId;
export const vcpuId = (n: number): VcpuId => n as VcpuId;
export const port = (n: number): Port => n as Port;
export const nanoseconds = (n: bigint): Nanoseconds => n as Nanoseconds;
