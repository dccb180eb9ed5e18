/** Options of every command that runs a guest; `plan.ts` reads them. */
import type { Option } from './command.ts';

export const GUEST_OPTIONS: readonly Option[] = [
  { name: 'vcpus', value: 'N', help: 'virtual processors, 1 to 128 (PV: 8192)' },
  { name: 'memory', value: 'MIB', help: 'memory in MiB (default 128)' },
  { name: 'xen', value: 'VERSION', help: 'release of Xen whose rules apply' },
  { name: 'set', value: 'NAME=VALUE', help: 'override one rule (`xenolith behaviours` lists them)', multiple: true },
  { name: 'type', value: 'TYPE', help: 'pv, pvh, or hvm for an image that is its own firmware' },
  { name: 'cmdline', value: 'TEXT', help: 'command line of the kernel' },
  { name: 'module', value: 'FILE', help: 'module (initial ramdisk) for the kernel; PV takes one', multiple: true },
  { name: 'engine', value: 'ENGINE', help: 'how guest code is executed' },
  { name: 'hvm-fep', help: "recognise the forced emulation prefix, as Xen's option hvm_fep" },
  { name: 'timeout', value: 'SECONDS', help: 'end after so much guest time' },
  { name: 'wall-timeout', value: 'SECONDS', help: 'end after so much real time' },
];
