/** A small PV guest for tests: 64 pages mapped from address 0, its first vCPU at a known place in its kernel, code written by the test. */
import { decode, encode, type Type } from '../../abi/xen/struct.ts';
import * as c from '../../abi/xen/vcpu-guest-context.ts';
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import { HypercallContext, type Result } from '../hypercall.ts';
import { type MachineConfig, XenMachine } from '../machine.ts';
import { loadFirstContext } from './context.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const PAGES = 64;
const P = 1n,
  RW = 2n,
  US = 4n;

/** Where the kernel's code and its user's code begin, where arguments are written, and the tops of both stacks. */
export const CODE = 0x1000,
  USER_CODE = 0x3000,
  ARGUMENT = 0x5000n,
  STACK = 0xa000n,
  USER_STACK = 0xc000n;
/** An address of the kernel's handlers, `n` apart: code there is `hlt`, which a PV kernel cannot execute, so a test stops before. */
export const HANDLER = 0x6000n;
/** A page that is mapped read-only, one that is not mapped, and the last-level table, which is mapped read-only. */
export const READ_ONLY = 0x10_000n,
  ABSENT = 0x11_000n,
  TABLE = BigInt((PAGES - 1) * 4096);

export interface ContextChanges {
  readonly flags?: number;
  readonly es?: number;
  readonly debugreg?: readonly bigint[];
  readonly fpu?: Uint8Array;
}

export class PvBench {
  readonly machine: XenMachine;
  readonly pv: PvDomain;
  readonly vcpu: PvVcpu;
  readonly cpu: Cpu;
  readonly width: 32 | 64;
  readonly mfns: number[] = [];
  /** Roots of the kernel and (64-bit) of user mode. */
  readonly root: number;
  readonly userRoot: number;

  constructor(width: 32 | 64, config: Partial<MachineConfig> = {}) {
    this.width = width;
    this.machine = new XenMachine({
      type: width === 64 ? 'pv64' : 'pv32',
      maxVcpus: 2,
      maxMemory: 1 << 20,
      codeBytes: 1 << 20,
      schedule: { slice: 1000 },
      ...config,
    });
    const { pv } = this.machine.domain;
    if (pv === undefined) throw new Error('not a PV domain');
    this.pv = pv;
    [this.vcpu] = pv.vcpus;
    [this.cpu] = this.machine.cpus;
    for (let pfn = 0; pfn < PAGES; pfn++) this.mfns.push(this.page(pfn));
    const l1 = this.mfns[PAGES - 1];
    const upper = [0, 1, 2, 3].map((n) => this.page(PAGES + n));
    this.mfns.forEach((mfn, pfn) => {
      const address = BigInt(pfn) << 12n;
      const readOnly = address === READ_ONLY || pfn === PAGES - 1;
      if (address !== ABSENT) this.entry(l1, pfn, mfn, readOnly ? P | US : P | RW | US);
    });
    [this.root, this.userRoot] = width === 64 ? this.link64(l1, upper) : this.link32(l1, upper);
    for (const root of new Set([this.root, this.userRoot]))
      if (pv.mm.pin(width === 64 ? 4 : 3, root) !== 0) throw new Error('the page tables are refused');
    this.write(HANDLER, new Array<number>(4096).fill(0xf4));
    pv.domain.info.setUpcallMask(this.vcpu.vcpu.id, true, 'toolstack');
  }

  private page(pfn: number): number {
    const mfn = this.pv.mm.allocate(pfn);
    if (mfn === undefined) throw new Error('no memory');
    return mfn;
  }

  private entry(table: number, index: number, mfn: number, bits: bigint): void {
    const bytes = this.pv.mm.bytes(table);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(index * 8, (BigInt(mfn) << 12n) | bits, true);
  }

  private link64(l1: number, [l2, l3, kernel, user]: readonly number[]): [number, number] {
    this.entry(l2, 0, l1, P | RW | US);
    this.entry(l3, 0, l2, P | RW | US);
    this.entry(kernel, 0, l3, P | RW | US);
    this.entry(user, 0, l3, P | RW | US);
    return [kernel, user];
  }

  private link32(l1: number, [l2, last, root]: readonly number[]): [number, number] {
    this.entry(l2, 0, l1, P | RW | US);
    this.entry(root, 0, l2, P);
    this.entry(root, 3, last, P);
    return [root, root];
  }

  get layout(): 'native' | 'compat' {
    return this.width === 64 ? 'native' : 'compat';
  }

  /** The vcpu_guest_context of a vCPU that begins in its kernel at {@link CODE}. */
  context(changes: ContextChanges = {}): Uint8Array {
    const flags = BigInt(changes.flags ?? c.VGCF_in_kernel | c.VGCF_online);
    const cr3 = c.frameToCr3(BigInt(this.root), this.layout);
    if (this.width === 64) {
      const context = decode(c.vcpu_guest_context_64, new Uint8Array(c.contextSize('native')), 'native');
      Object.assign(context.user_regs, { rip: BigInt(CODE), rsp: STACK, rflags: 0x202n, cs: 0xe033, ss: 0xe02b });
      context.user_regs.es = changes.es ?? 0;
      context.ctrlreg[3] = cr3;
      context.ctrlreg[1] = BigInt(this.userRoot) << 12n;
      Object.assign(context, { flags, kernel_ss: 0xe02bn, kernel_sp: STACK });
      return encode(c.vcpu_guest_context_64, finish(context, changes), 'native');
    }
    const context = decode(c.vcpu_guest_context_32, new Uint8Array(c.contextSize('compat')), 'compat');
    Object.assign(context.user_regs, { eip: CODE, esp: Number(STACK), eflags: 0x202, cs: 0xe019, ss: 0xe021 });
    Object.assign(context.user_regs, { ds: 0xe021, es: changes.es ?? 0xe021 });
    context.ctrlreg[3] = cr3;
    Object.assign(context, { flags, kernel_ss: 0xe021n, kernel_sp: STACK });
    return encode(c.vcpu_guest_context_32, finish(context, changes), 'compat');
  }

  /** Loads the first vCPU and puts it on its processor. */
  start(changes: ContextChanges = {}): this {
    const result = loadFirstContext(this.pv, this.context(changes));
    if (result !== 0) throw new Error(`the context is refused: ${result}`);
    this.run(0);
    this.vcpu.begin?.();
    this.vcpu.begin = undefined;
    return this;
  }

  /** Writes guest memory past the hypervisor; code there is decoded anew. */
  write(address: number | bigint, bytes: readonly number[] | Uint8Array): void {
    const at = Number(address);
    bytes.forEach((byte, n) => {
      const mfn = this.mfns[(at + n) >>> 12];
      this.pv.mm.bytes(mfn)[(at + n) & 0xfff] = byte;
      this.cpu.code.written(mfn, (at + n) & 0xfff, 1);
    });
  }

  code(...bytes: number[]): this {
    this.write(CODE, bytes);
    return this;
  }

  /** Reads words of the guest's width. */
  words(address: number | bigint, count: number): bigint[] {
    const size = this.width / 8;
    return Array.from({ length: count }, (_, n) => {
      const at = Number(address) + n * size;
      const bytes = this.pv.mm.bytes(this.mfns[at >>> 12]);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      return size === 8 ? view.getBigUint64(at & 0xfff, true) : BigInt(view.getUint32(at & 0xfff, true));
    });
  }

  put<T>(type: Type<T>, value: T, address = ARGUMENT): bigint {
    this.write(address, encode(type, value, this.layout));
    return address;
  }

  /** Executes exactly so many instructions. */
  run(instructions: number): void {
    this.machine.scheduler.run({ instructions });
  }

  /** A hypercall of the first vCPU, without its instruction. */
  call(number: number, ...args: (bigint | number)[]): Result {
    const all = [...args.map(BigInt), 0n, 0n, 0n, 0n, 0n].slice(0, 5);
    return this.machine.table.dispatch(new HypercallContext(this.vcpu.vcpu, this.layout, number, all));
  }

  /** Handler of a vector at {@link HANDLER} + 16 * vector. */
  handle(vector: number, flags = 0): bigint {
    const address = HANDLER + BigInt(vector * 16);
    this.vcpu.traps.set(vector, flags, this.vcpu.kernelCs, address);
    return address;
  }

  reg(n: number): bigint {
    return this.cpu.gpr(n);
  }
  set(n: number, value: bigint | number): void {
    this.cpu.setGpr(n, BigInt(value));
  }
  get rsp(): bigint {
    return this.cpu.gpr(S.RSP);
  }
  selector(n: number): number {
    return this.cpu.get32(S.seg(n) + S.SEG_SELECTOR) & 0xffff;
  }
  get masked(): boolean {
    return this.pv.domain.info.upcallMask(this.vcpu.vcpu.id, 'toolstack');
  }
  set masked(value: boolean) {
    this.pv.domain.info.setUpcallMask(this.vcpu.vcpu.id, value, 'toolstack');
  }
  get crash(): string | undefined {
    return this.pv.domain.shutdownState?.message;
  }

  /** Leaves for user mode at {@link USER_CODE}, as the iret hypercall would. */
  enterUser(): void {
    const { frame } = this.vcpu;
    Object.assign(frame, { rip: BigInt(USER_CODE), rsp: USER_STACK, flags: 0x202 });
    if (this.width === 64) Object.assign(frame, { cs: 0xe033, ss: 0xe02b });
    else Object.assign(frame, { cs: 0xe02b, ss: 0xe033 });
    this.iretTo(frame);
  }

  private iretTo({ rip, cs, flags, rsp, ss }: PvVcpu['frame']): void {
    const words = this.width === 64 ? [0n, 0n, 0n, 0n, rip, BigInt(cs), BigInt(flags), rsp, BigInt(ss)] : [];
    if (this.width === 32) words.push(0n, rip, BigInt(cs), BigInt(flags), rsp, BigInt(ss));
    this.iret(words);
  }

  /** Executes the iret hypercall with a frame of words on the stack below {@link STACK}. */
  iret(words: readonly bigint[]): void {
    const size = this.width / 8;
    const at = STACK - 0x200n;
    const bytes = new Uint8Array(words.length * size);
    const view = new DataView(bytes.buffer);
    words.forEach((word, n) => {
      if (size === 8) view.setBigUint64(n * 8, BigInt.asUintN(64, word), true);
      else view.setUint32(n * 4, Number(BigInt.asUintN(32, word)), true);
    });
    this.write(at, bytes);
    this.set(S.RSP, at);
    this.hypercallInstruction(23);
  }

  /** SYSCALL or INT 0x82 at RIP with a number in rax. */
  hypercallInstruction(number: number): void {
    this.set(S.RAX, number);
    this.write(this.cpu.rip, this.width === 64 ? [0x0f, 0x05] : [0xcd, 0x82]);
    this.run(1);
  }
}

/** What both forms of a context have. */
function finish<T extends { debugreg: bigint[]; fpu_ctxt: Uint8Array }>(context: T, changes: ContextChanges): T {
  changes.debugreg?.forEach((value, n) => {
    context.debugreg[n] = value;
  });
  if (changes.fpu !== undefined) context.fpu_ctxt = changes.fpu;
  return context;
}
