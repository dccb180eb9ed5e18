/** Every reference key in the sources resolves against docs/references.md. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(`${root}/docs/references.md`, 'utf8');

/** Family → forms of what may follow the colon. */
const families = new Map<string, RegExp[]>();
for (const [, family, form] of page.matchAll(/^\| `([a-z0-9]+)` \| `([^`]+)` \|/gm)) {
  const forms = families.get(family!) ?? [];
  forms.push(new RegExp(`^(?:${form!.replaceAll('\\|', '|')})$`));
  families.set(family!, forms);
}
const headers = new Set(/## Xen's public headers[\s\S]*?```\n([\s\S]*?)```/.exec(page)![1]!.trim().split(/\s+/));

interface Citation {
  readonly place: string;
  readonly family: string;
  readonly rest: string;
}

const citation = /(?<![\w.:/-])([a-z][a-z0-9]*):([A-Za-z0-9][^\s"'`,;|)\]}$]*)/g;
/** In backticks only, where a family that is not listed can be told from prose. */
const quoted = /`([a-z][a-z0-9-]*):([A-Za-z0-9][^`\s]*)(?: "[^`"]*")?`/g;
const notReferences = new Set(['node', 'http', 'https', 'file', 'data', 'npm']);

function citationsIn(file: string): Citation[] {
  const found: Citation[] = [];
  readFileSync(`${root}/${file}`, 'utf8')
    .split('\n')
    .forEach((line, index) => {
      const place = `${file}:${index + 1}`;
      for (const [, family, rest] of line.matchAll(citation)) {
        if (families.has(family!)) found.push({ place, family: family!, rest: rest!.replace(/[.:]+$/, '') });
      }
      for (const [, family, rest] of line.matchAll(quoted)) {
        if (!families.has(family!) && !notReferences.has(family!)) found.push({ place, family: family!, rest: rest! });
      }
    });
  return found;
}

function objection({ family, rest }: Citation): string | undefined {
  const forms = families.get(family);
  if (!forms) return 'the family is not listed in docs/references.md';
  if (!forms.some((form) => form.test(rest))) return 'the form does not match docs/references.md';
  const header = family === 'xen' ? /^public\/([^#]+)/.exec(rest)?.[1] : undefined;
  if (header && !headers.has(header)) return 'no such public header at the pinned tag';
  return undefined;
}

test('references: every key in the sources resolves', () => {
  const files = globSync(['src/**/*.ts', 'tests/**/*.ts', 'guests/**/*.{c,h,S}'], { cwd: root }).filter(
    (file) => !file.endsWith('references.test.ts'),
  );
  const all = files.sort().flatMap(citationsIn);
  assert.ok(all.length > 0, 'citations are found');
  const wrong = all.flatMap((found) => {
    const why = objection(found);
    return why ? [`${found.place} cites ${found.family}:${found.rest}: ${why}`] : [];
  });
  assert.deepEqual(wrong, []);
});

test('references: unknown families, forms and headers are refused', () => {
  const why = (family: string, rest: string): string | undefined => objection({ place: '', family, rest });
  assert.equal(why('sdm', 'ADC'), undefined);
  assert.equal(why('sdm', '3A'), undefined);
  assert.equal(why('xen', 'public/event_channel.h#EVTCHNOP_send'), undefined);
  assert.match(why('sdm', 'adc') ?? '', /form/);
  assert.match(why('xen', 'public/nothing.h') ?? '', /no such public header/);
  assert.match(why('amd', 'SVM') ?? '', /not listed/);
});

test('references: one edition is pinned for each family', () => {
  const editions = new Map<string, string>();
  for (const [, family, edition] of page.matchAll(/^\| `([a-z0-9]+)` \|.*\| ([^|]+) \|$/gm)) {
    assert.equal(editions.get(family!) ?? edition, edition, `${family} has two editions`);
    editions.set(family!, edition!);
  }
  assert.equal(editions.size, families.size);
});
