/** Where test instructions run, on the host and in the machine alike, and the binary form of cases and results (native/runner.c). */

/** Linear address of the instruction under test; the rest of its page is INT3. */
export const CODE = 0x1000_0800n;
/** The only data memory: 256 bytes inside one page. */
export const WINDOW = 0x2000_0800n;
export const WINDOW_SIZE = 256;
/** Bytes of an FXSAVE image. */
export const FX_SIZE = 512;
export const FX_MXCSR = 24,
  FX_ST = 32,
  FX_XMM = 160;

export interface Registers {
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15. */
  readonly gpr: readonly bigint[];
  readonly flags: number;
  readonly memory: Uint8Array;
  /** x87, MMX, XMM and MXCSR as FXSAVE stores them. */
  readonly fx: Uint8Array;
}

export interface Execution extends Registers {
  /** Exception vector, -1 when the instruction completed. */
  readonly vector: number;
  /** Behind the instruction, at its target, or at the instruction when it faulted. */
  readonly rip: bigint;
}

export interface Input extends Registers {
  /** 32: compatibility mode. */
  readonly bits: 32 | 64;
  readonly code: Uint8Array;
}

export const CASE_BYTES = 8 + 16 + 128 + 16 + WINDOW_SIZE + FX_SIZE;
export const RESULT_BYTES = 8 + 8 + 128 + 16 + WINDOW_SIZE + FX_SIZE;

export const encodeCases = (cases: readonly Input[]): Uint8Array => {
  const out = new Uint8Array(cases.length * CASE_BYTES);
  const view = new DataView(out.buffer);
  cases.forEach((c, i) => {
    const at = i * CASE_BYTES;
    view.setUint32(at, c.bits, true);
    view.setUint32(at + 4, c.code.length, true);
    out.set(c.code, at + 8);
    c.gpr.forEach((value, n) => {
      view.setBigUint64(at + 24 + n * 8, value, true);
    });
    view.setUint32(at + 152, c.flags, true);
    out.set(c.memory, at + 168);
    out.set(c.fx, at + 168 + WINDOW_SIZE);
  });
  return out;
};

const BREAKPOINT = 3,
  PAGE_FAULT = 14,
  INSTRUCTION_FETCH = 0x10;

export const decodeResult = (bytes: Uint8Array, at: number): Execution => {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, RESULT_BYTES);
  const vector = view.getUint32(0, true);
  let rip = view.getBigUint64(8, true);
  if (vector === BREAKPOINT) rip -= 1n;
  // Arriving where nothing is mapped is a completed jump.
  const completed =
    vector === BREAKPOINT || (vector === PAGE_FAULT && (view.getUint32(4, true) & INSTRUCTION_FETCH) !== 0);
  return {
    vector: completed ? -1 : vector,
    rip,
    gpr: Array.from({ length: 16 }, (_, n) => view.getBigUint64(16 + n * 8, true)),
    flags: view.getUint32(144, true),
    memory: bytes.slice(at + 160, at + 160 + WINDOW_SIZE),
    fx: bytes.slice(at + 160 + WINDOW_SIZE, at + 160 + WINDOW_SIZE + FX_SIZE),
  };
};
