/** The HVM info table (`xen:public/hvm/hvm_info_table.h`): what the builder tells HVM firmware about the domain. */
import { fromLatin1, viewOf } from '../bytes.ts';

export const HVM_INFO_ADDRESS = 0x9f800;
const SIZE = 48;
const CHECKSUM = 12;

export interface HvmInfo {
  readonly maxVcpus: number;
  /** vCPUs online at boot: the first so many. */
  readonly vcpus: number;
  /** End of RAM below 4 GiB, in bytes. */
  readonly lowMemoryEnd: number;
  /** End of RAM above 4 GiB, in bytes; 0 when there is none. */
  readonly highMemoryEnd: number;
  /** First page of the range reserved for special mappings, in bytes. */
  readonly reservedStart: number;
}

/** The table, whose bytes add up to 0 modulo 256. */
export function buildHvmInfo(info: HvmInfo): Uint8Array {
  const bytes = new Uint8Array(SIZE);
  const view = viewOf(bytes);
  bytes.set(fromLatin1('HVM INFO'));
  view.setUint32(8, SIZE, true);
  view.setUint8(13, 1); // apic_mode: the firmware shall describe the APICs
  view.setUint32(16, info.maxVcpus, true);
  view.setUint32(20, info.lowMemoryEnd / 4096, true);
  view.setUint32(24, info.reservedStart / 4096, true);
  view.setUint32(28, info.highMemoryEnd / 4096, true);
  for (let id = 0; id < info.vcpus; id++) bytes[32 + (id >> 3)]! |= 1 << (id & 7);
  bytes[CHECKSUM] = -bytes.reduce((sum, byte) => sum + byte, 0);
  return bytes;
}
