/** A WebAssembly module under construction: types, one imported memory, imported functions, functions, global variables, exports. */
import { Bytes } from './bytes.ts';
import { FunctionBody } from './function.ts';
import { I32, type ValType } from './value.ts';

interface Import {
  readonly module: string;
  readonly name: string;
  readonly type: number;
}

export class ModuleBuilder {
  private readonly types = new Map<string, number>();
  private readonly typeBytes: Bytes[] = [];
  private readonly imports: Import[] = [];
  private readonly functions: { type: number; body: FunctionBody }[] = [];
  private readonly exports: { name: string; index: number }[] = [];
  private readonly globals: number[] = [];
  private table: { minimum: number; name: string } | undefined;

  /** Index of a function type, shared between equal signatures. */
  type(params: readonly ValType[], results: readonly ValType[]): number {
    const key = `${params.join()}>${results.join()}`;
    const known = this.types.get(key);
    if (known !== undefined) return known;
    const out = new Bytes();
    out.u8(0x60);
    out.u32(params.length);
    out.raw(params);
    out.u32(results.length);
    out.raw(results);
    this.typeBytes.push(out);
    this.types.set(key, this.typeBytes.length - 1);
    return this.typeBytes.length - 1;
  }

  /** Declares an imported function; all imports come before the first `define`. */
  import(module: string, name: string, params: readonly ValType[], results: readonly ValType[]): number {
    if (this.functions.length > 0) throw new Error('imports must be declared before functions');
    this.imports.push({ module, name, type: this.type(params, results) });
    return this.imports.length - 1;
  }

  /** Reserves a function; its body may be filled later. */
  define(params: readonly ValType[], results: readonly ValType[]): { index: number; body: FunctionBody } {
    const body = new FunctionBody(params, results);
    return { index: this.add(body), body };
  }

  /** Adds a function; its index. */
  add(body: FunctionBody): number {
    this.functions.push({ type: this.type(body.params, body.results), body });
    return this.imports.length + this.functions.length - 1;
  }

  export(name: string, index: number): void {
    this.exports.push({ name, index });
  }

  /** A 32-bit global variable; its index. */
  global(initial: number): number {
    this.globals.push(initial);
    return this.globals.length - 1;
  }

  /** One function table, exported under `name`. */
  exportTable(name: string, minimum: number): void {
    this.table = { name, minimum };
  }

  /** Branch hints (WebAssembly proposal "branch hinting"); engines that do not know them skip the section. */
  private writeHints(s: Bytes, bodies: readonly { readonly rare: readonly number[] }[]): void {
    s.name('metadata.code.branch_hint');
    s.u32(bodies.filter(({ rare }) => rare.length > 0).length);
    bodies.forEach(({ rare }, i) => {
      if (rare.length === 0) return;
      s.u32(this.imports.length + i);
      s.u32(rare.length);
      for (const at of rare) {
        s.u32(at);
        s.raw([1, 0]);
      }
    });
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new Bytes();
    out.raw([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    const section = (id: number, write: (s: Bytes) => void) => {
      const s = new Bytes();
      write(s);
      out.u8(id);
      out.sized(s);
    };
    section(1, (s) => {
      s.u32(this.typeBytes.length);
      for (const t of this.typeBytes) s.append(t);
    });
    section(2, (s) => {
      s.u32(this.imports.length + 1);
      s.name('env');
      s.name('memory');
      s.raw([0x02, 0x00]);
      s.u32(1);
      for (const i of this.imports) {
        s.name(i.module);
        s.name(i.name);
        s.u8(0x00);
        s.u32(i.type);
      }
    });
    section(3, (s) => {
      s.u32(this.functions.length);
      for (const f of this.functions) s.u32(f.type);
    });
    if (this.table) {
      const { minimum } = this.table;
      section(4, (s) => {
        s.u32(1);
        s.raw([0x70, 0x00]);
        s.u32(minimum);
      });
    }
    if (this.globals.length > 0)
      section(6, (s) => {
        s.u32(this.globals.length);
        for (const initial of this.globals) {
          s.raw([I32, 0x01, 0x41]);
          s.s32(initial);
          s.u8(0x0b);
        }
      });
    section(7, (s) => {
      s.u32(this.exports.length + (this.table ? 1 : 0));
      if (this.table) {
        s.name(this.table.name);
        s.u8(0x01);
        s.u32(0);
      }
      for (const e of this.exports) {
        s.name(e.name);
        s.u8(0x00);
        s.u32(e.index);
      }
    });
    const bodies = this.functions.map(({ body }) => body.encodeBody());
    if (bodies.some(({ rare }) => rare.length > 0)) section(0, (s) => this.writeHints(s, bodies));
    section(10, (s) => {
      s.u32(this.functions.length);
      for (const { bytes } of bodies) s.sized(bytes);
    });
    return out.view();
  }
}
