/** A PVH or PV guest run through the library: its console as text, and keys typed at it. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { type InterpreterModules, interpreterModules } from '../../src/cpu/interpret/instance.ts';
import { buildPv, buildPvh, launch, openKernel, ramBytes, type Services } from '../../src/toolstack/index.ts';
import { Control, type MachineConfig, type Stop } from '../../src/xen/index.ts';

const MIB = 1024 * 1024;
let interpreter: InterpreterModules | undefined;

export interface GuestOptions {
  /** `pvh` when left out. */
  readonly type?: 'pv' | 'pvh';
  readonly memoryMib: number;
  readonly vcpus?: number;
  readonly cmdline?: string;
  readonly modules?: readonly Uint8Array[];
  readonly machine?: Partial<MachineConfig>;
}

export class ConsoleGuest {
  readonly control: Control;
  /** All that the guest wrote so far, as Latin-1. */
  console = '';
  readonly services: Services;

  constructor(file: string, { type = 'pvh', memoryMib, vcpus = 1, cmdline, modules = [], machine = {} }: GuestOptions) {
    interpreter ??= interpreterModules();
    const build = type === 'pv' ? buildPv : buildPvh;
    const image = build({
      kernel: openKernel(readFileSync(file), () => undefined),
      memoryMib,
      vcpus,
      maxVcpus: vcpus,
      modules: modules.map((bytes) => ({ bytes })),
      ...(cmdline === undefined ? {} : { cmdline }),
    });
    this.control = new Control({
      type: image.type,
      maxVcpus: vcpus,
      maxMemory: ramBytes(image) + MIB,
      interpreter,
      ...machine,
    });
    this.services = launch(this.control, image, {
      domid: 1,
      name: basename(file),
      uuid: '00000000-0000-4000-8000-000000000001',
      memoryMib,
      maxMemoryMib: memoryMib,
      output: (bytes) => {
        this.console += Buffer.from(bytes).toString('latin1');
      },
    });
  }

  /** Runs for so many seconds of guest time, or until it stops by itself. */
  run(seconds: number): Stop {
    const stop = this.control.run({ until: this.control.machine.time.now() + BigInt(Math.round(seconds * 1e9)) });
    this.services.service();
    return stop;
  }

  /** Runs until the console, from position `from` on, has the text; the position behind it. Throws after so many seconds of guest time. */
  expect(text: string, from: number, seconds: number): number {
    for (let passed = 0; ; passed += 0.02) {
      const at = this.console.indexOf(text, from);
      if (at >= 0) return at + text.length;
      if (passed >= seconds)
        throw new Error(`no ${JSON.stringify(text)} in ${JSON.stringify(this.console.slice(from))}`);
      this.run(0.02);
    }
  }

  type(text: string): void {
    this.services.input(Buffer.from(text, 'latin1'));
  }
}
