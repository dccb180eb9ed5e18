/* The same total work whatever the number of vCPUs: units of it are dealt out to all of them in turn. The sum of the units' results does
 * not depend on who did which. Command line: work=N, the number of units (some 20 000 instructions each). */
#include "../lib/vcpu.h"

const char guest_name[] = "share";

#define TABLE 1024
static uint32_t tables[MAX_VCPUS][TABLE];
static volatile uint32_t sums[MAX_VCPUS], finished[MAX_VCPUS];
static unsigned count = 1, units = 64;

/* Fills a table of the vCPU's own and reads it in an order that depends on what is in it. */
static uint32_t unit(unsigned vcpu, uint32_t number) {
    uint32_t *table = tables[vcpu], x = number * 2654435761u + 1, sum = 0;
    for (unsigned i = 0; i < TABLE; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        table[i] = x;
    }
    for (unsigned i = 0, at = 0; i < TABLE; i++) {
        sum = (sum << 7 | sum >> 25) + table[at];
        at = (at + 1 + (table[at] & 15)) % TABLE;
    }
    return sum;
}

void ap_main(unsigned vcpu) {
    uint32_t sum = 0;
    for (unsigned number = vcpu; number < units; number += count)
        sum += unit(vcpu, number);
    sums[vcpu] = sum;
    finished[vcpu] = 1;
}

static unsigned option(const char *name, unsigned otherwise) {
    size_t length = strlen(name);
    for (const char *at = command_line(); *at; at++)
        if (memcmp(at, name, length) == 0) {
            unsigned value = 0;
            for (at += length; *at >= '0' && *at <= '9'; at++)
                value = value * 10 + (*at - '0');
            return value;
        }
    return otherwise;
}

static long start(unsigned vcpu) {
#ifdef GUEST_PV
    long rc = register_vcpu_info(vcpu);
    return rc ? rc : initialise(vcpu);
#else
    return initialise(vcpu);
#endif
}

void guest_main(void) {
    units = option("work=", units);
    time_setup();
    while (vcpu_exists(count)) {
        long rc = start(count);
        if (rc)
            report(ERROR, "vCPU %u cannot be started: %ld", count, rc);
        count++;
    }
    print("vcpus %u work %u\n", count, units);
    print("share begin\n");
    console_drain();
    for (unsigned vcpu = 1; vcpu < count; vcpu++)
        vcpu_op(VCPUOP_up, vcpu, NULL);
    ap_main(0);
    uint32_t sum = 0;
    for (unsigned vcpu = 0; vcpu < count; vcpu++) {
        while (!finished[vcpu])
            sleep_ms(1);
        sum += sums[vcpu];
    }
    print("share end checksum=%08x\n", sum);
}
