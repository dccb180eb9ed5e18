/** Values of a function under construction. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
export type ValType = typeof I32 | typeof I64 | typeof F32 | typeof F64 | typeof V128;

/** A value: a local, or a constant that is written where it is used. */
export type Val =
  | { readonly type: ValType; readonly local: number; readonly constant?: undefined }
  | { readonly type: typeof I32; readonly local: -1; readonly constant: number }
  | { readonly type: typeof I64; readonly local: -1; readonly constant: bigint };

export type Label = number;

export const c32 = (value: number): Val => ({ type: I32, local: -1, constant: value | 0 });
export const c64 = (value: bigint | number): Val => ({
  type: I64,
  local: -1,
  constant: BigInt.asIntN(64, BigInt(value)),
});
