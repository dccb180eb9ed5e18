/** Port 0xE9: a byte sink for HVM guests (`xen:public/hvm/ioreq.h`), read back as 0xE9. Printable bytes, newline and tab pass. */
import type { RangeHandler } from '../bus/ranges.ts';

export const DEBUG_PORT = 0xe9;

export function debugPort(sink: (byte: number) => void): RangeHandler {
  return {
    name: 'debug-port',
    read: () => DEBUG_PORT,
    write: (_offset, _size, value) => {
      if (isPrintable(value)) sink(value);
      return true;
    },
  };
}

const isPrintable = (byte: number): boolean =>
  (byte >= 0x20 && byte < 0x7f) || byte >= 0xa0 || byte === 0x09 || byte === 0x0a;
