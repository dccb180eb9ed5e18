/**
 * Names of instructions that exist elsewhere and not on this processor, for counting what a guest missed. They raise #UD.
 *
 * Encodings are matched in order; the first that fits names the instruction, and what fits none is named by its opcode.
 * Families that share a prefix are named as a family. Source: key `sdm:2 "Opcode Map"`.
 */

/** Bytes as `[map] opcode [/digit]`, see {@link opcodeOf}; a pattern is the beginning of one. */
const ABSENT: readonly (readonly [pattern: string, name: string])[] = [
  ['EVEX', 'AVX-512'],
  ['XOP', 'XOP'],
  ['VEX 0F38 F0', 'VEX bit operation'],
  ['VEX', 'AVX'],
  ['0F0F', '3DNow!'],
  ['0F 01 C0', 'ENCLV'],
  ['0F 01 C2', 'VMLAUNCH'],
  ['0F 01 C3', 'VMRESUME'],
  ['0F 01 C4', 'VMXOFF'],
  ['0F 01 C5', 'PCONFIG'],
  ['0F 01 C8', 'MONITOR'],
  ['0F 01 C9', 'MWAIT'],
  ['0F 01 CF', 'ENCLS'],
  ['0F 01 D4', 'VMFUNC'],
  ['0F 01 D5', 'XEND'],
  ['0F 01 D6', 'XTEST'],
  ['0F 01 D7', 'ENCLU'],
  ['0F 01 D8', 'VMRUN'],
  ['0F 01 DA', 'VMLOAD'],
  ['0F 01 DB', 'VMSAVE'],
  ['0F 01 DC', 'STGI'],
  ['0F 01 DD', 'CLGI'],
  ['0F 01 DE', 'SKINIT'],
  ['0F 01 DF', 'INVLPGA'],
  ['0F 01 EE', 'RDPKRU'],
  ['0F 01 EF', 'WRPKRU'],
  ['0F 01 FA', 'MONITORX'],
  ['0F 01 FB', 'MWAITX'],
  ['0F 01 FC', 'CLZERO'],
  ['0F 01', 'system instruction'],
  ['0F 37', 'GETSEC'],
  ['0F 78', 'VMREAD'],
  ['0F 79', 'VMWRITE'],
  ['0F A6', 'PadLock'],
  ['0F A7', 'PadLock'],
  ['0F AE /4', 'XSAVE family'],
  ['0F AE /6', 'CLWB or XSAVEOPT'],
  ['0F AE /7', 'CLFLUSHOPT'],
  ['0F C7 /3', 'XRSTORS'],
  ['0F C7 /4', 'XSAVEC'],
  ['0F C7 /5', 'XSAVES'],
  ['0F C7 /6', 'RDRAND or VMPTRLD'],
  ['0F C7 /7', 'RDSEED, RDPID or VMPTRST'],
  ['0F38 80', 'INVEPT'],
  ['0F38 81', 'INVVPID'],
  ['0F38 82', 'INVPCID'],
  ['0F38 CF', 'GFNI'],
  ['0F38 C', 'SHA'],
  ['0F38 D', 'AES'],
  ['0F38 F5', 'WRUSS'],
  ['0F38 F6', 'WRSS'],
  ['0F38 F8', 'MOVDIR64B'],
  ['0F38 F9', 'MOVDIRI'],
  ['0F3A 44', 'PCLMULQDQ'],
  ['0F3A CC', 'SHA'],
  ['0F3A CE', 'GFNI'],
  ['0F3A CF', 'GFNI'],
  ['0F3A DF', 'AES'],
  ['C6 /7', 'XABORT'],
  ['C7 /7', 'XBEGIN'],
];

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');
const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** Opcode of an instruction without its prefixes: map, opcode byte, and ModRM as a whole (0F 01 with a register) or as `/digit`. */
export const opcodeOf = (bytes: Uint8Array, codeSize: 16 | 32 | 64): string => {
  let at = 0;
  while (at < bytes.length && (PREFIXES.has(bytes[at]) || (codeSize === 64 && (bytes[at] & 0xf0) === 0x40))) at++;
  const byte = (n: number): number => bytes[at + n] ?? 0;
  const digit = (modrm: number): string => `/${(modrm >> 3) & 7}`;
  const registerForm = byte(1) >= 0xc0 || codeSize === 64;
  if (byte(0) === 0x62 && registerForm) return `EVEX ${hex(byte(4))}`;
  if (byte(0) === 0xc5 && registerForm) return `VEX 0F ${hex(byte(2))}`;
  if (byte(0) === 0xc4 && registerForm)
    return `VEX ${['', '0F', '0F38', '0F3A'][byte(1) & 31] ?? 'map'} ${hex(byte(3))}`;
  if (byte(0) === 0x8f && (byte(1) & 0x38) !== 0) return `XOP ${hex(byte(3))}`;
  if (byte(0) !== 0x0f) return `${hex(byte(0))} ${digit(byte(1))}`;
  if (byte(1) === 0x0f) return '0F0F';
  if (byte(1) === 0x38 || byte(1) === 0x3a) return `0F${hex(byte(1))} ${hex(byte(2))}`;
  if (byte(1) === 0x01 && byte(2) >= 0xc0) return `0F 01 ${hex(byte(2))}`;
  return `0F ${hex(byte(1))} ${digit(byte(2))}`;
};

/** Name and opcode of an instruction that raised #UD for not being known. */
export const absentName = (bytes: Uint8Array, codeSize: 16 | 32 | 64): string => {
  const opcode = opcodeOf(bytes, codeSize);
  const found = ABSENT.find(([pattern]) => opcode.startsWith(pattern));
  return found === undefined ? `opcode ${opcode}` : `${found[1]} (${opcode})`;
};
