/**
 * Space for decoded code in linear memory: blocks of one size, each holding a page's table or records.
 *
 * Blocks are reused in turn when all are taken, tables that were used since the last round once later. So a guest with more code
 * than fits keeps most of what it runs. The turn goes through a part of the memory that grows when there are no blocks of records without use: a
 * guest that overwrites its code stays in blocks that the host's caches hold.
 */

/** Bytes of a block; a table fills one. */
export const BLOCK_BYTES = 4096 * 8;

/** Blocks to begin with. */
const FIRST_BLOCKS = 64;

/** What the owner of the blocks' contents has to do and to say. */
export interface Contents {
  /** The content makes room and is forgotten. */
  evict(kind: 'table' | 'records', address: number): void;
  /** A good part of the records of a block is still found by whoever executes them. */
  inUse(records: number): boolean;
}

const FREE = 0,
  TABLE = 1,
  USED_TABLE = 2,
  RECORDS = 3;

export class CodeSpace {
  private readonly begin: number;
  private readonly kinds: Uint8Array;
  private readonly contents: Contents;
  /** Blocks that take part. */
  private blocks = 0;
  private hand = 0;
  /** Block that records go to, -1 when there is none. */
  private current = -1;
  /** Where the next record goes, and the end of its block. */
  private next = 0;
  private limit = 0;
  /** Bytes from the beginning that were ever in use since the last reset. */
  touched = 0;

  /** Blocks from here on were never in use. */
  private fresh = 0;

  /** `size` holds at least four blocks. */
  constructor(begin: number, size: number, contents: Contents) {
    this.begin = begin;
    this.kinds = new Uint8Array(Math.floor(size / BLOCK_BYTES));
    this.contents = contents;
    if (this.kinds.length < 4) throw new RangeError('the code cache is too small');
    this.reset();
  }

  /** Blocks in use. */
  get used(): number {
    return this.kinds.reduce((sum, kind) => sum + (kind === FREE ? 0 : 1), 0);
  }

  /** Makes room for that many bytes of records in one block; may evict. */
  reserve(bytes: number): void {
    if (this.limit - this.next >= bytes) return;
    this.current = -1;
    const block = this.take();
    this.kinds[block] = RECORDS;
    this.current = block;
    this.next = this.addressOf(block);
    this.limit = this.next + BLOCK_BYTES;
  }

  /** Where the next record goes. Room for one is there as long as room was reserved for more than was used. */
  get nextRecord(): number {
    return this.next;
  }

  /** Address of the next record; room was reserved. */
  record(bytes: number): number {
    const at = this.next;
    this.next += bytes;
    return at;
  }

  /** Address of a block for a table; `cleared` when nothing was ever in it, which spares the host pages that nobody needs. May evict. */
  table(): { readonly address: number; readonly cleared: boolean } {
    const { fresh } = this;
    const block = this.take();
    this.kinds[block] = USED_TABLE;
    return { address: this.addressOf(block), cleared: block >= fresh };
  }

  /** A table is in use: it is spared in the present round. */
  touch(table: number): void {
    this.kinds[this.blockOf(table)] = USED_TABLE;
  }

  free(table: number): void {
    this.kinds[this.blockOf(table)] = FREE;
  }

  reset(): void {
    this.kinds.fill(FREE);
    this.blocks = Math.min(FIRST_BLOCKS, this.kinds.length);
    this.hand = 0;
    this.current = -1;
    this.next = this.limit = this.touched = 0;
  }

  private take(): number {
    const block = this.blocks < this.kinds.length ? (this.unused() ?? this.grow()) : this.nextInTurn();
    this.touched = Math.max(this.touched, (block + 1) * BLOCK_BYTES);
    this.fresh = Math.max(this.fresh, block + 1);
    return block;
  }

  private nextInTurn(): number {
    for (;;) {
      const block = this.turn();
      const kind = this.kinds[block];
      if (kind === FREE) return block;
      if (kind === USED_TABLE) this.kinds[block] = TABLE;
      else if (block !== this.current) return this.empty(block);
    }
  }

  /** A block that is free, or whose records hardly anybody finds any more. */
  private unused(): number | undefined {
    for (let n = 0; n < this.blocks; n++) {
      const block = this.turn();
      const kind = this.kinds[block];
      if (kind === FREE) return block;
      if (kind === RECORDS && block !== this.current && !this.contents.inUse(this.addressOf(block)))
        return this.empty(block);
    }
    return undefined;
  }

  /** The first of as many blocks again as there are. */
  private grow(): number {
    const block = this.blocks;
    this.blocks = Math.min(block * 2, this.kinds.length);
    this.hand = block;
    return this.turn();
  }

  private turn(): number {
    const block = this.hand;
    this.hand = block + 1 >= this.blocks ? 0 : block + 1;
    return block;
  }

  private empty(block: number): number {
    this.contents.evict(this.kinds[block] === RECORDS ? 'records' : 'table', this.addressOf(block));
    this.kinds[block] = FREE;
    return block;
  }

  private addressOf(block: number): number {
    return this.begin + block * BLOCK_BYTES;
  }
  private blockOf(address: number): number {
    return Math.floor((address - this.begin) / BLOCK_BYTES);
  }
}
