/**
 * Records by the bytes that decide about them: prefixes, opcode, ModRM and SIB. What was decoded once is from then on a copy and two
 * numbers, for code that is decoded again and again and for instructions that differ in displacement and immediate only.
 */
import { R_DISPLACEMENT, R_IMMEDIATE } from './record.ts';

/** Parts of a structure: bytes before displacement and immediate; their sizes are above. */
export const TEMPLATE_BYTES = 15,
  /** The straight run ends. */
  TEMPLATE_ENDS = 0x1000,
  /** Shift to the length of the whole instruction. */
  TEMPLATE_LENGTH = 16;

const WORDS = 8;
/** When there are more, all are forgotten. */
const MAX_TEMPLATES = 16_384,
  MAX_NODES = 4_096;

/** What a template needs to know besides its record. */
export interface Structure {
  /** Bytes before displacement and immediate. */
  readonly bytes: number;
  /** Sizes of displacement and immediate: 0, 1, 2, 4 or 8 bytes, signed. */
  readonly displacement: number;
  readonly immediate: number;
  /** A straight run ends here. */
  readonly ends: boolean;
}

const doubled = <T extends Int32Array | Uint32Array>(from: T, make: (length: number) => T): T => {
  const to = make(from.length * 2);
  to.set(from);
  return to;
};

export class Templates {
  /** By mode key: the first node, 0 is none. */
  private readonly roots: number[] = [];
  /** Nodes of 256 entries by byte: 0 nothing, a node, or the complement of a template. Node 0 is not used. */
  private nodes: Int32Array = new Int32Array(64 * 256);
  private nodeCount = 1;
  private records: Uint32Array = new Uint32Array(256 * WORDS);
  /** Bytes, displacement << 4, immediate << 8, ends << 12, length << 16. */
  private readonly structures: number[] = [];

  /**
   * Writes the record of the instruction at an address, of which 15 bytes can be read; `record` is an index in `words`. The structure, of
   * which {@link TEMPLATE_BYTES} and so on are parts; 0, and nothing written, when there is no template.
   */
  write(mode: number, words: Uint32Array, record: number, bytes: Uint8Array, at: number): number {
    const { records, nodes } = this;
    let node = this.roots[mode] ?? 0;
    for (let i = at; node > 0; i++) node = nodes[(node << 8) + bytes[i]];
    if (node === 0) return 0;
    const template = ~node;
    const structure = this.structures[template];
    for (let i = 0, from = template * WORDS; i < WORDS; i++) words[record + i] = records[from + i];
    let end = at + (structure & 15);
    const displacement = (structure >>> 4) & 15;
    if (displacement !== 0) {
      words[record + R_DISPLACEMENT / 4] += signed(bytes, end, displacement);
      end += displacement;
    }
    const immediate = (structure >>> 8) & 15;
    if (immediate !== 0) {
      const low = signed(bytes, end, Math.min(4, immediate));
      words[record + R_IMMEDIATE / 4] = low;
      words[record + R_IMMEDIATE / 4 + 1] = immediate === 8 ? signed(bytes, end + 4, 4) : low >> 31;
    }
    return structure;
  }

  /** Keeps the record that the instruction at an address was decoded to. */
  learn(mode: number, words: Uint32Array, record: number, bytes: Uint8Array, at: number, structure: Structure): void {
    if (this.structures.length >= MAX_TEMPLATES || this.nodeCount + structure.bytes > MAX_NODES) this.clear();
    const template = this.structures.length;
    const length = structure.bytes + structure.displacement + structure.immediate;
    this.structures.push(
      structure.bytes |
        (structure.displacement << 4) |
        (structure.immediate << 8) |
        (structure.ends ? TEMPLATE_ENDS : 0) |
        (length << TEMPLATE_LENGTH),
    );
    if ((template + 1) * WORDS > this.records.length) this.records = doubled(this.records, (n) => new Uint32Array(n));
    this.records.set(words.subarray(record, record + WORDS), template * WORDS);
    // What depends on the instruction's own displacement and immediate is added when the template is used.
    if (structure.displacement !== 0)
      this.records[template * WORDS + R_DISPLACEMENT / 4] -= signed(
        bytes,
        at + structure.bytes,
        structure.displacement,
      );
    this.roots[mode] ||= this.newNode();
    let node = this.roots[mode]!;
    for (let i = 0; i < structure.bytes - 1; i++) {
      const place = node * 256 + bytes[at + i];
      if (this.nodes[place] <= 0) {
        const fresh = this.newNode();
        this.nodes[place] = fresh;
      }
      node = this.nodes[place];
    }
    this.nodes[node * 256 + bytes[at + structure.bytes - 1]] = ~template;
  }

  private newNode(): number {
    if ((this.nodeCount + 1) * 256 > this.nodes.length) this.nodes = doubled(this.nodes, (n) => new Int32Array(n));
    return this.nodeCount++;
  }

  private clear(): void {
    this.roots.length = 0;
    this.nodes.fill(0);
    this.nodeCount = 1;
    this.structures.length = 0;
  }
}

const signed = (bytes: Uint8Array, at: number, size: number): number => {
  if (size === 1) return (bytes[at] << 24) >> 24;
  const half = bytes[at] | (bytes[at + 1] << 8);
  return size === 2 ? (half << 16) >> 16 : half | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
};
