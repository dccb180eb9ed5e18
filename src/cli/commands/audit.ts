/** `xenolith audit`: what the hypervisor touched of a guest's areas, and what the guest asked for in vain. */
import { AreaAudit, auditReport, auditText } from '../../lab/index.ts';
import type { XenMachine } from '../../xen/index.ts';
import { type Arguments, type Command, EXIT } from '../command.ts';
import { GUEST_OPTIONS } from '../guest-options.ts';
import type { Host } from '../host.ts';
import type { Machine } from '../machine.ts';
import { observe, stopCode } from '../observe.ts';
import { makePlan } from '../plan.ts';
import { describeEnd, isCrash } from '../verdict.ts';

export const audit: Command = {
  name: 'audit',
  summary: 'run a guest and show every access of the hypervisor to its shared areas, and what is missing',
  operands: 'GUEST',
  operandCount: [1, 1],
  options: [...GUEST_OPTIONS, { name: 'json', help: 'print one JSON document instead of tables' }],
  run: async (args, host, machine) => execute(args, host, await machine()),
};

async function execute(args: Arguments, host: Host, machine: Machine): Promise<number> {
  const planned = makePlan(args, host, machine);
  for (const warning of planned.warnings) host.stderr(`xenolith: warning: ${warning}\n`);
  const areas = new AreaAudit();
  let subject: XenMachine | undefined;
  const outcome = await observe(host, machine, planned, (attached) => {
    subject = attached;
    areas.attach(attached);
  });
  if (outcome.end === 'stopped') return stopCode(host);
  if (subject === undefined) throw new Error('the machine was never shown');
  const report = auditReport(areas, subject);
  const end = describeEnd(outcome);
  const code = isCrash(outcome) ? EXIT.crash : EXIT.success;
  if (args.switches.has('json'))
    host.stdout(`${JSON.stringify({ exitCode: code, end, xen: planned.plan.xen, ...report }, undefined, 2)}\n`);
  else host.stdout(`${auditText(report)}\nThe guest ended: ${end}\n`);
  return code;
}
