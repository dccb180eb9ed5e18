/* Shows what this Xen and this processor offer a guest, and checks that the clocks of the two agree.
 * Times are judged, not printed, so the output is the same in every run on one machine. */
#include "../lib/runtime.h"

const char guest_name[] = "features";

static void show_leaf(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_regs r = cpuid(leaf, subleaf);
    print("cpuid %08x.%u: %08x %08x %08x %08x\n", leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
}

static void show_processor(void) {
    struct cpuid_regs r = cpuid(0, 0);
    char vendor[13] = {0};
    memcpy(vendor, &r.ebx, 4);
    memcpy(vendor + 4, &r.edx, 4);
    memcpy(vendor + 8, &r.ecx, 4);
    print("processor: %s, leaves to %u\n", vendor, r.eax);
    show_leaf(1, 0);
    if (r.eax >= 7)
        show_leaf(7, 0);
    show_leaf(0x80000000, 0);
    show_leaf(0x80000001, 0);
    if (!(cpuid(1, 0).ecx >> 31))
        report(FAILURE, "CPUID does not announce a hypervisor");
}

static void show_xen(void) {
    struct cpuid_regs version = cpuid(xen_base + 1, 0);
    long said = hypercall2(__HYPERVISOR_xen_version, XENVER_version, 0);
    print("xen: leaves at %08x to +%u, version %u.%u\n", xen_base, cpuid(xen_base, 0).eax - xen_base, version.eax >> 16,
          version.eax & 0xffff);
    if ((uint32_t)said != version.eax)
        report(FAILURE, "CPUID says version %x, XENVER_version %lx", version.eax, said);
    for (uint32_t i = 0; i < 2; i++) {
        struct xen_feature_info features = {.submap_idx = i};
        long rc = hypercall2(__HYPERVISOR_xen_version, XENVER_get_features, &features);
        if (rc == 0)
            print("xen: feature word %u: %08x\n", i, features.submap);
        else
            print("xen: feature word %u: error %ld\n", i, rc);
    }
    static char text[1024];
    if (hypercall2(__HYPERVISOR_xen_version, XENVER_capabilities, text) == 0)
        print("xen: capabilities: %s\n", text);
}

/* A consistent copy of a time record: version is odd while Xen writes (xen:public/xen.h#vcpu_time_info). */
static struct vcpu_time_info read_time(volatile struct vcpu_time_info *from) {
    struct vcpu_time_info copy;
    do {
        copy.version = from->version & ~1u;
        barrier();
        copy.tsc_timestamp = from->tsc_timestamp;
        copy.system_time = from->system_time;
        copy.tsc_to_system_mul = from->tsc_to_system_mul;
        copy.tsc_shift = from->tsc_shift;
        barrier();
    } while (copy.version != from->version);
    return copy;
}

static uint64_t system_time(volatile struct vcpu_time_info *from) {
    struct vcpu_time_info t = read_time(from);
    uint64_t delta = rdtsc() - t.tsc_timestamp;
    delta = t.tsc_shift >= 0 ? delta << t.tsc_shift : delta >> -t.tsc_shift;
    uint64_t low = (delta & 0xffffffff) * t.tsc_to_system_mul >> 32;
    return t.system_time + (delta >> 32) * t.tsc_to_system_mul + low;
}

static void check_time(void) {
    struct shared_info *shared = map_shared_info();
    if (!shared) {
        report(FAILURE, "shared_info cannot be mapped");
        return;
    }
    volatile struct vcpu_time_info *time = &shared->vcpu_info[0].time;
    print("time: factor %s, wall clock %s\n", time->tsc_to_system_mul ? "set" : "missing",
          shared->wc_sec || shared->wc_sec_hi ? "set" : "missing");
    uint64_t last = system_time(time), first = last;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t now = system_time(time);
        if (now < last) {
            report(FAILURE, "system time went back from %llu to %llu", (unsigned long long)last, (unsigned long long)now);
            return;
        }
        last = now;
    }
    print("time: %s\n", last > first ? "advances" : "stands still");
    report(last > first ? SUCCESS : FAILURE, NULL);
}

void guest_main(void) {
    show_processor();
    show_xen();
    check_time();
}
