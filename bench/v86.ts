/**
 * Runs a Multiboot guest in the v86 package, without a BIOS, serial port to standard output:
 * `node bench/v86.ts GUEST [CMDLINE]`. Ends when the guest does.
 */
import { readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';

const [guest, cmdline = ''] = process.argv.slice(2);
if (guest === undefined) {
  console.error('usage: node bench/v86.ts GUEST [CMDLINE]');
  process.exit(2);
}

// A write to port 0xf4 ends the guest; v86 answers it by throwing this.
process.on('uncaughtException', (error: unknown) => {
  if (error !== 'HALT') console.error(error);
  process.exit(error === 'HALT' ? 0 : 1);
});

const image = Uint8Array.from(readFileSync(guest));
const machine = new V86({
  wasm_path: join(dirname(fileURLToPath(import.meta.resolve('v86'))), 'v86.wasm'),
  memory_size: 128 << 20,
  vga_memory_size: 1 << 20,
  multiboot: { buffer: image.buffer },
  cmdline,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});

let line = '';
machine.add_listener('serial0-output-byte', (byte: number) => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  writeSync(1, line);
  // Should the write to the port not come.
  if (/^bench\d+ (?:done|exception)/.test(line)) setTimeout(() => process.exit(0), 10);
  line = '';
});
