import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EINVAL, ENOMEM } from '../abi/xen/errno.ts';
import { SHUTDOWN_soft_reset } from '../abi/xen/sched.ts';
import { gfn } from '../base/int.ts';
import { softReset } from './soft-reset.ts';
import { TestDomain } from './testing.ts';

test('soft reset: only after that shutdown reason; vcpu_info can be registered again, channels are gone', () => {
  const { domain } = new TestDomain();
  const [vcpu] = domain.vcpus;
  assert.equal(softReset(domain), -EINVAL);
  assert.equal(domain.info.registerVcpuInfo(vcpu, true, 4n, 0), 0);
  assert.equal(domain.info.registerVcpuInfo(vcpu, true, 4n, 0), -EBUSY);
  domain.evtchn.bindIpi(0);
  domain.p2m.placeSpecial(domain.sharedInfo, gfn(9));
  domain.shutdown(SHUTDOWN_soft_reset);
  assert.equal(softReset(domain), 0);
  assert.equal([...domain.evtchn.bound()].length, 0);
  assert.equal(domain.info.vcpuInfoArea(vcpu.id).kind, 'slot');
  assert.notEqual(domain.p2m.ramAt(9), 0);
  assert.equal(domain.shutdownState, undefined);
  assert.equal(domain.info.registerVcpuInfo(vcpu, true, 4n, 0), 0);
});

test('soft reset: a domain that has used up its memory crashes', () => {
  const { domain } = new TestDomain({ config: { maxPages: 16 } });
  domain.p2m.placeSpecial(domain.sharedInfo, gfn(9));
  assert.equal(domain.p2m.populate(20), true);
  domain.shutdown(SHUTDOWN_soft_reset);
  assert.equal(softReset(domain), -ENOMEM);
  assert.equal(domain.shutdownState?.reason, 3);
});

test('soft reset: a PV domain crashes', () => {
  const { domain } = new TestDomain({ config: { type: 'pv64' } });
  domain.shutdown(SHUTDOWN_soft_reset);
  assert.equal(softReset(domain), -EINVAL);
  assert.equal(domain.shutdownCode, 3);
});
