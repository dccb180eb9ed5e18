/** Names of XenStore nodes (`xen:misc/xenstore.txt`). */
import { XsError } from './wire.ts';

const XENSTORE_ABS_PATH_MAX = 3072;
const XENSTORE_REL_PATH_MAX = 2048;

/** Absolute form of a path given by a domain. Throws EINVAL for a malformed one. */
export function canonical(path: string, domid: number): string {
  const relative = !path.startsWith('/');
  if (path.length > (relative ? XENSTORE_REL_PATH_MAX : XENSTORE_ABS_PATH_MAX)) throw new XsError('EINVAL');
  const full = relative ? `/local/domain/${domid}/${path}` : path;
  if (full !== '/' && (full.endsWith('/') || full.includes('//'))) throw new XsError('EINVAL');
  if (!/^[-/_@A-Za-z0-9]+$/.test(full)) throw new XsError('EINVAL');
  return full;
}

export const segments = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));

export const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

/** Whether `path` is `ancestor` or lies below it. */
export const isWithin = (path: string, ancestor: string): boolean =>
  path === ancestor || ancestor === '/' || path.startsWith(`${ancestor}/`);
