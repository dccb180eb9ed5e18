/** `xenolith behaviours`: what differs between releases of Xen, by name. */
import { table } from '../../lab/index.ts';
import { defaultValue, VERSIONS } from '../../xen/index.ts';
import { type Arguments, type Command, EXIT } from '../command.ts';
import type { Host } from '../host.ts';
import type { Machine } from '../machine.ts';
import { choiceOption } from '../options.ts';

export const behaviours: Command = {
  name: 'behaviours',
  summary: 'list the rules that differ between releases of Xen, and their values',
  operands: '',
  operandCount: [0, 0],
  options: [
    { name: 'xen', value: 'VERSION', help: 'only the values of this release' },
    { name: 'json', help: 'print one JSON document instead of a table' },
  ],
  run: async (args, host, machine) => list(args, host, await machine()),
};

function list(args: Arguments, host: Host, machine: Machine): number {
  const xen = choiceOption(args, 'xen', machine.versions);
  const releases = VERSIONS.filter((version) => xen === undefined || version === xen);
  if (args.switches.has('json')) {
    const document = machine.rules.map((rule) => ({
      name: rule.name,
      summary: rule.summary,
      source: rule.source,
      values: rule.values,
      byRelease: Object.fromEntries(releases.map((version) => [version, defaultValue(rule, version)])),
    }));
    host.stdout(`${JSON.stringify(document, undefined, 2)}\n`);
    return EXIT.success;
  }
  const rows = machine.rules.map((rule) => [
    rule.name,
    ...releases.map((version) => defaultValue(rule, version)),
    rule.values.join(' '),
    rule.source,
  ]);
  const summaries = machine.rules.map((rule) => `${rule.name}\n    ${rule.summary}\n`).join('');
  host.stdout(`${table(['rule', ...releases, 'values', 'changed by'], rows)}\n${summaries}`);
  return EXIT.success;
}
