/** Messages of the XenStore protocol (`xen:public/io/xs_wire.h`). */
import { fromLatin1, latin1, viewOf } from '../bytes.ts';

export const XS_CONTROL = 0,
  XS_DIRECTORY = 1,
  XS_READ = 2,
  XS_GET_PERMS = 3,
  XS_WATCH = 4,
  XS_UNWATCH = 5;
export const XS_TRANSACTION_START = 6,
  XS_TRANSACTION_END = 7,
  XS_INTRODUCE = 8,
  XS_RELEASE = 9,
  XS_GET_DOMAIN_PATH = 10;
export const XS_WRITE = 11,
  XS_MKDIR = 12,
  XS_RM = 13,
  XS_SET_PERMS = 14,
  XS_WATCH_EVENT = 15,
  XS_ERROR = 16;
export const XS_IS_DOMAIN_INTRODUCED = 17,
  XS_RESUME = 18,
  XS_SET_TARGET = 19,
  XS_RESET_WATCHES = 21,
  XS_DIRECTORY_PART = 22;

export const XENSTORE_PAYLOAD_MAX = 4096;
export const HEADER_SIZE = 16;

/** Errors travel as names. */
export type XsErrno =
  | 'EINVAL'
  | 'EACCES'
  | 'EEXIST'
  | 'EISDIR'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'EIO'
  | 'ENOTEMPTY'
  | 'ENOSYS'
  | 'EROFS'
  | 'EBUSY'
  | 'EAGAIN'
  | 'EISCONN'
  | 'E2BIG'
  | 'EPERM';

/** A request that fails; its reply is XS_ERROR with the name. */
export class XsError extends Error {
  readonly errno: XsErrno;
  constructor(errno: XsErrno) {
    super(errno);
    this.name = 'XsError';
    this.errno = errno;
  }
}

export interface Message {
  readonly type: number;
  readonly requestId: number;
  readonly transaction: number;
  /** Each byte as the character of the same number. */
  readonly payload: string;
}

export function encodeMessage(message: Message): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + message.payload.length);
  const view = viewOf(bytes);
  view.setUint32(0, message.type, true);
  view.setUint32(4, message.requestId, true);
  view.setUint32(8, message.transaction, true);
  view.setUint32(12, message.payload.length, true);
  bytes.set(fromLatin1(message.payload), HEADER_SIZE);
  return bytes;
}

/** A whole message at the start of `bytes`; undefined while it is incomplete, 'too-long' beyond the payload limit. */
export function decodeMessage(bytes: Uint8Array): Message | undefined | 'too-long' {
  if (bytes.length < HEADER_SIZE) return undefined;
  const view = viewOf(bytes);
  const length = view.getUint32(12, true);
  if (length > XENSTORE_PAYLOAD_MAX) return 'too-long';
  if (bytes.length < HEADER_SIZE + length) return undefined;
  return {
    type: view.getUint32(0, true),
    requestId: view.getUint32(4, true),
    transaction: view.getUint32(8, true),
    payload: latin1(bytes.subarray(HEADER_SIZE, HEADER_SIZE + length)),
  };
}
