/** `xen:public/xen.h#HYPERVISOR_console_io`: the hypervisor's own console, closed to guests unless the domain or the build opens it. */
import { E2BIG, EFAULT, ENOSYS, EPERM } from '../../abi/xen/errno.ts';
import { CONSOLEIO_read, CONSOLEIO_write } from '../../abi/xen/misc.ts';
import { __HYPERVISOR_console_io } from '../../abi/xen/xen.ts';
import { again, full, hypercall } from '../hypercall.ts';

const CHUNK = 127;
/** Chunks written before the call continues as a new one. */
const CHUNKS_AT_ONCE = 64;
const NEWLINE = 10;
const TAB = 9;

const printable = (byte: number): boolean => (byte >= 32 && byte < 127) || byte === NEWLINE || byte === TAB;

/** Arguments: command, count, buffer. EPERM; write: EFAULT at the first unreadable part; read: E2BIG: count above 2^31-1, else 0 as nothing was typed. ENOSYS. */
export const consoleIo = hypercall(
  __HYPERVISOR_console_io,
  'xen:public/xen.h#HYPERVISOR_console_io',
  full({ guests: 'all' }, (context) => {
    const { domain, args } = context;
    if (!domain.config.consoleIo && !domain.rules.has('guest-console-io')) return -EPERM;
    const count = Number(BigInt.asUintN(32, args[1]));
    switch (Number(BigInt.asUintN(32, args[0]))) {
      case CONSOLEIO_write:
        for (let at = 0; at < count; at += CHUNK) {
          if (at >= CHUNK * CHUNKS_AT_ONCE)
            return again(undefined, BigInt(count - at), context.cut(args[2] + BigInt(at)));
          const part = context.readBytes(context.cut(args[2] + BigInt(at)), Math.min(CHUNK, count - at));
          if (part === undefined) return -EFAULT;
          domain.onConsoleOutput(part.filter(printable));
        }
        return 0;
      case CONSOLEIO_read:
        return count > 0x7fff_ffff ? -E2BIG : 0;
      default:
        return -ENOSYS;
    }
  }),
);
