/**
 * ACPI tables of a PVH guest: RSDP, RSDT, XSDT, FADT (revision 5), FACS, DSDT with one processor object per vCPU, and
 * a MADT of local APICs only. There is no IO-APIC, HPET, PM timer, CMOS clock, keyboard controller or VGA to describe.
 */
import { alignUp, fromLatin1, viewOf } from '../bytes.ts';
import { concat, integer, named, processor, scope, text } from './aml.ts';

/** The page by which AML finds the MADT; the tables follow it. */
export const ACPI_INFO_ADDRESS = 0xfc000000;
const TABLES_ADDRESS = ACPI_INFO_ADDRESS + 0x1000;
/** Last 64 bytes below 1 MiB, where scanning systems look. */
const LOW_RSDP_ADDRESS = 0x100000 - 64;
const RSDP_SPACE = 64;
const LAPIC_ADDRESS = 0xfee00000;

const WBINVD = 1 << 0,
  PROC_C1 = 1 << 2,
  PWR_BUTTON = 1 << 4,
  SLP_BUTTON = 1 << 5,
  FIX_RTC = 1 << 6,
  TMR_VAL_EXT = 1 << 8;
const USE_PLATFORM_CLOCK = 1 << 15;
/** iapc_boot_arch. */
const NO_VGA = 1 << 2,
  NO_CMOS_RTC = 1 << 5;

export interface AcpiInput {
  readonly maxVcpus: number;
  /** vCPUs whose MADT entry is enabled: the first so many. */
  readonly vcpus: number;
  /** Put the RSDP below 1 MiB. */
  readonly lowRsdp: boolean;
}

/** One piece of ACPI memory: where it goes and what it holds. */
export interface AcpiPart {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

export interface AcpiTables {
  readonly rsdp: AcpiPart;
  readonly info: AcpiPart;
  /** Whole pages. */
  readonly tables: AcpiPart;
}

export const lapicId = (vcpu: number): number => vcpu * 2;

export function buildAcpi(input: AcpiInput): AcpiTables {
  const parts: AcpiPart[] = [];
  let at = TABLES_ADDRESS;
  const place = (bytes: Uint8Array, alignment = 16): number => {
    const gpa = alignUp(at, alignment);
    parts.push({ gpa, bytes });
    at = gpa + bytes.length;
    return gpa;
  };
  const facs = place(buildFacs(), 64);
  const dsdt = place(buildDsdt(input));
  const fadt = place(buildFadt(facs, dsdt));
  const madt = place(buildMadt(input));
  const tables = [fadt, madt];
  const xsdt = place(table('XSDT', 1, pointers(tables, 8)));
  const rsdt = place(table('RSDT', 1, pointers(tables, 4)));

  const bytes = new Uint8Array(alignUp(at - TABLES_ADDRESS, 4096));
  for (const part of parts) bytes.set(part.bytes, part.gpa - TABLES_ADDRESS);
  return {
    rsdp: { gpa: input.lowRsdp ? LOW_RSDP_ADDRESS : TABLES_ADDRESS + bytes.length, bytes: buildRsdp(rsdt, xsdt) },
    info: { gpa: ACPI_INFO_ADDRESS, bytes: buildInfo(input.maxVcpus, madt) },
    tables: { gpa: TABLES_ADDRESS, bytes },
  };
}

/** Sets the byte at `at` so that the bytes of `bytes` add up to 0 modulo 256. */
function checksum(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at] = 0;
  bytes[at] = -bytes.reduce((sum, byte) => sum + byte, 0);
  return bytes;
}

/** A system description table: the 36-byte header with Xen's identification, then the body. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = concat(new Uint8Array(36), body);
  const view = viewOf(bytes);
  bytes.set(fromLatin1(signature));
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  bytes.set(fromLatin1('Xen'), 10);
  bytes.set(fromLatin1('HVM'), 16);
  bytes.set(fromLatin1('HVML'), 28);
  return checksum(bytes, 9);
}

function pointers(addresses: readonly number[], size: 4 | 8): Uint8Array {
  const bytes = new Uint8Array(addresses.length * size);
  addresses.forEach((address, i) => void viewOf(bytes).setUint32(i * size, address, true));
  return bytes;
}

function buildRsdp(rsdt: number, xsdt: number): Uint8Array {
  const bytes = new Uint8Array(36);
  const view = viewOf(bytes);
  bytes.set(fromLatin1('RSD PTR '));
  bytes.set(fromLatin1('Xen'), 9);
  bytes[15] = 2;
  view.setUint32(16, rsdt, true);
  view.setUint32(20, bytes.length, true);
  view.setBigUint64(24, BigInt(xsdt), true);
  // The first checksum covers the 20 bytes of ACPI 1.0, the second everything.
  checksum(bytes.subarray(0, 20), 8);
  checksum(bytes, 32);
  return concat(bytes, new Uint8Array(RSDP_SPACE - bytes.length));
}

function buildFacs(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(fromLatin1('FACS'));
  bytes[4] = bytes.length;
  bytes[32] = 1;
  return bytes;
}

/** Fields by their offset in the table, which the specification gives with the header included. */
function buildFadt(facs: number, dsdt: number): Uint8Array {
  const whole = new Uint8Array(268);
  const view = viewOf(whole);
  const ioRegister = (at: number, bits: number, address: number): void => {
    whole[at] = 1; // address space: system I/O
    whole[at + 1] = bits;
    view.setBigUint64(at + 4, BigInt(address), true);
  };
  view.setUint32(36, facs, true);
  view.setUint32(40, dsdt, true);
  view.setUint16(46, 9, true); // sci_int
  view.setUint32(56, 0xb000, true); // pm1a_evt_blk
  view.setUint32(64, 0xb004, true); // pm1a_cnt_blk
  view.setUint32(80, 0xafe0, true); // gpe0_blk
  whole[88] = 4; // pm1_evt_len
  whole[89] = 2; // pm1_cnt_len
  whole[92] = 4; // gpe0_blk_len
  view.setUint16(96, 0x0fff, true); // p_lvl2_lat: above 100, no C2
  view.setUint16(98, 0x0fff, true); // p_lvl3_lat: above 1000, no C3
  view.setUint16(109, NO_VGA | NO_CMOS_RTC, true); // iapc_boot_arch
  view.setUint32(112, WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | FIX_RTC | TMR_VAL_EXT | USE_PLATFORM_CLOCK, true);
  ioRegister(116, 8, 0xcf9); // reset_reg
  whole[128] = 6; // reset_value
  view.setBigUint64(132, BigInt(facs), true);
  view.setBigUint64(140, BigInt(dsdt), true);
  ioRegister(148, 32, 0xb000); // x_pm1a_evt_blk
  ioRegister(172, 16, 0xb004); // x_pm1a_cnt_blk
  return table('FACP', 5, whole.subarray(36));
}

function buildMadt(input: AcpiInput): Uint8Array {
  const body = new Uint8Array(8 + 8 * input.maxVcpus);
  const view = viewOf(body);
  view.setUint32(0, LAPIC_ADDRESS, true);
  view.setUint32(4, 1, true); // PCAT_COMPAT
  for (let vcpu = 0; vcpu < input.maxVcpus; vcpu++) {
    const at = 8 + 8 * vcpu;
    body[at + 1] = 8; // type 0, processor local APIC
    body[at + 2] = vcpu;
    body[at + 3] = lapicId(vcpu);
    view.setUint32(at + 4, vcpu < input.vcpus ? 1 : 0, true);
  }
  return table('APIC', 2, body);
}

/** Processor objects are named PR00.. in hexadecimal; `_STA` 15 is present, enabled, shown and working. */
function buildDsdt(input: AcpiInput): Uint8Array {
  const processors = Array.from({ length: input.maxVcpus }, (_, vcpu) =>
    processor(
      `PR${vcpu.toString(16).toUpperCase().padStart(2, '0')}`,
      vcpu,
      named('_HID', text('ACPI0007')),
      named('_UID', integer(vcpu)),
      named('_STA', integer(vcpu < input.vcpus ? 15 : 0)),
    ),
  );
  return table('DSDT', 2, scope('_SB', ...processors));
}

/** The information page that Xen's AML reads: number of processors, where the MADT's checksum and first entry are. */
function buildInfo(maxVcpus: number, madt: number): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = viewOf(bytes);
  view.setUint16(2, maxVcpus, true);
  view.setUint32(12, madt + 9, true);
  view.setUint32(16, madt + 44, true);
  return bytes;
}
