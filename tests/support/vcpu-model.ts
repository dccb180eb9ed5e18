/**
 * A small model of what Xen says about vCPUs, written from the rules and not from the implementation: three facts per vCPU, its runstate, and the
 * answers to the sixteen operations in their order of errors.
 */
const EFAULT = 14,
  EBUSY = 16,
  EEXIST = 17,
  EINVAL = 22,
  ENOENT = 2,
  ENOSYS = 38,
  ENXIO = 6;

export const RUNNING = 0,
  RUNNABLE = 1,
  BLOCKED = 2,
  OFFLINE = 3;

const MILLISECOND = 1_000_000n;

/** Arguments as the guest wrote them; undefined for a pointer to nowhere. */
export interface Request {
  readonly operation: number;
  readonly id: number;
  /** The caller, and whether it is 32-bit. */
  readonly caller: number;
  readonly compat: boolean;
  /** The argument is not NULL. */
  readonly pointer: boolean;
  readonly argument: Argument | undefined;
}

export type Argument =
  | { readonly kind: 'context'; readonly valid: boolean }
  | { readonly kind: 'period'; readonly period: bigint }
  | { readonly kind: 'place'; readonly frame: 'ram' | 'hole' | 'overflow'; readonly offset: number }
  | { readonly kind: 'address'; readonly frame: 'ram' | 'hole' | 'none'; readonly offset: number }
  | { readonly kind: 'other' };

export class ModelVcpu {
  initialised = false;
  down = true;
  blocked = false;
  registered = false;
  /** An interrupt or NMI waits, so that HLT does not wait. */
  event = false;
  state = OFFLINE;
  entered: bigint;
  readonly times: [bigint, bigint, bigint, bigint] = [0n, 0n, 0n, 0n];

  constructor(now: bigint) {
    this.entered = now;
  }

  get runnable(): boolean {
    return !this.down && !this.blocked;
  }
}

export class Model {
  readonly vcpus: ModelVcpu[];
  readonly created: bigint;
  readonly release: number;
  poweredOff = false;
  now: bigint;
  /** Which vCPU is on the processor. */
  running: number | undefined;

  /** `release`: minor version of Xen 4. */
  constructor(count: number, release: number, now: bigint) {
    this.release = release;
    this.created = now;
    this.now = now;
    this.vcpus = Array.from({ length: count }, () => new ModelVcpu(now));
    this.vcpus[0]!.initialised = true;
    this.vcpus[0]!.down = false;
    this.vcpus[0]!.state = RUNNABLE;
  }

  /** Result of a vcpu_op, and what it does. */
  vcpuOp(request: Request): number {
    const { operation, id, caller, compat, pointer, argument } = request;
    const v = this.vcpus[id];
    if (v === undefined) return -ENOENT;
    const modern = this.release >= 18;
    switch (operation) {
      case 0:
        if (this.release < 19 && id >= 32 && !v.registered) return -EINVAL;
        if (argument === undefined) return -EFAULT;
        if (v.initialised) return -EEXIST;
        if (argument.kind !== 'context' || !argument.valid) return -EINVAL;
        v.initialised = true;
        return 0;
      case 1:
        if (!v.initialised) return -EINVAL;
        v.down = false;
        this.settle(id);
        return 0;
      case 2:
        if (this.vcpus.every((other) => other === v || other.down)) this.poweredOff = true;
        else {
          v.down = true;
          this.settle(id);
        }
        return 0;
      case 3:
        return v.down ? 0 : 1;
      case 4:
      case 5:
      case 13:
        return argument === undefined ? -EFAULT : 0;
      case 6: {
        if (argument === undefined) return -EFAULT;
        const period = argument.kind === 'period' ? argument.period : 0n;
        return period < MILLISECOND || period > (1n << 62n) - 1n ? -EINVAL : 0;
      }
      case 7:
        return 0;
      case 8:
        if (compat && argument === undefined) return -EFAULT;
        if (id !== caller) return -EINVAL;
        return argument === undefined ? -EFAULT : 0;
      case 9:
        return id === caller ? 0 : -EINVAL;
      case 10:
        return this.registerInfo(v, id === caller, modern, argument);
      case 11:
        if (pointer) return -EINVAL;
        v.event = true;
        this.wake(id);
        return 0;
      case 12:
        return -EINVAL;
      case 14:
      case 15:
        if (!modern) return -ENOSYS;
        if (argument?.kind !== 'address') return -EFAULT;
        if (argument.frame === 'none') return 0;
        if (argument.offset % 8 !== 0 || argument.offset + (operation === 15 ? 32 : compat ? 44 : 48) > 4096)
          return -ENXIO;
        return argument.frame === 'hole' ? -EINVAL : 0;
      default:
        return -ENOSYS;
    }
  }

  /** INIT: only an initialised vCPU notices. */
  init(id: number): void {
    const v = this.vcpus[id]!;
    if (!v.initialised) return;
    v.initialised = false;
    v.down = true;
    v.blocked = false;
    this.lastDown();
    this.settle(id);
  }

  /** Start-up IPI: only one that is not initialised notices. */
  sipi(id: number): void {
    const v = this.vcpus[id]!;
    if (v.initialised) return;
    v.initialised = true;
    v.down = false;
    this.settle(id);
  }

  /** The running vCPU executes HLT. */
  halt(interruptible: boolean): void {
    const v = this.vcpus[this.running!]!;
    if (!interruptible) {
      v.down = true;
      this.lastDown();
    } else if (!v.event) v.blocked = true;
  }

  /** An interrupt arrives. */
  wake(id: number): void {
    this.vcpus[id]!.blocked = false;
    this.settle(id);
  }

  enter(id: number): void {
    this.running = id;
    this.change(this.vcpus[id]!, RUNNING);
  }

  leave(): void {
    const v = this.vcpus[this.running!]!;
    this.running = undefined;
    this.change(v, v.blocked ? BLOCKED : v.down ? OFFLINE : RUNNABLE);
  }

  /** Time spent in each state until now. */
  timesOf(id: number): bigint[] {
    const v = this.vcpus[id]!;
    return v.times.map((time, state) => (state === v.state ? time + this.now - v.entered : time));
  }

  private registerInfo(v: ModelVcpu, self: boolean, modern: boolean, argument: Argument | undefined): number {
    if (argument?.kind !== 'place') return -EFAULT;
    const { frame, offset } = argument;
    if (modern) {
      if (offset >= 4096 || frame === 'overflow') return -EINVAL;
      if (v.registered) return -EBUSY;
      if (offset > 4032 || offset % 8 !== 0) return -ENXIO;
    } else {
      if (offset > 4032 || offset % 8 !== 0) return -ENXIO;
      if (v.registered || (!self && !v.down)) return -EINVAL;
    }
    if (frame !== 'ram') return -EINVAL;
    v.registered = true;
    return 0;
  }

  private lastDown(): void {
    if (this.vcpus.every((v) => v.down)) this.poweredOff = true;
  }

  /** Runstate of a vCPU that is not on the processor follows its flags, but one that blocked stays so while it is also down. */
  private settle(id: number): void {
    if (id === this.running) return;
    const v = this.vcpus[id]!;
    if (v.runnable) this.change(v, RUNNABLE);
    else if (v.state === RUNNABLE) this.change(v, v.blocked ? BLOCKED : OFFLINE);
    else if (v.state === BLOCKED && !v.blocked) this.change(v, OFFLINE);
  }

  private change(v: ModelVcpu, state: number): void {
    v.times[v.state as 0] += this.now - v.entered;
    v.entered = this.now;
    v.state = state;
  }
}
