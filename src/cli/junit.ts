/** One run as a JUnit document. */
import type { Verdict } from './verdict.ts';

export interface JUnitCase {
  readonly suite: string;
  readonly name: string;
  /** Seconds. */
  readonly time: number;
  readonly outcome: Verdict;
  readonly message: string;
  readonly output: string;
}

/** Characters XML 1.0 cannot carry become U+FFFD. */
const escapeXml = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what has to be found
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');

const ELEMENTS: Readonly<Record<Verdict, string | undefined>> = {
  success: undefined,
  skip: 'skipped',
  failure: 'failure',
  error: 'error',
  crash: 'error',
};

export function junit(test: JUnitCase): string {
  const element = ELEMENTS[test.outcome];
  const count = (name: string): number => (element === name ? 1 : 0);
  const time = test.time.toFixed(6);
  const result = element === undefined ? '' : `      <${element} message="${escapeXml(test.message)}"/>\n`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="${escapeXml(test.suite)}" tests="1" failures="${count('failure')}" errors="${count('error')}" skipped="${count('skipped')}" time="${time}">
    <testcase classname="${escapeXml(test.suite)}" name="${escapeXml(test.name)}" time="${time}">
${result}      <system-out>${escapeXml(test.output)}</system-out>
    </testcase>
  </testsuite>
</testsuites>
`;
}
