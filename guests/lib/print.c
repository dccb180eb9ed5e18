/* A small formatter, and the string functions that the compiler may call. */
#include "runtime.h"

void *memset(void *to, int value, size_t length) {
    unsigned char *p = to;
    while (length--)
        *p++ = value;
    return to;
}

void *memcpy(void *to, const void *from, size_t length) {
    unsigned char *p = to;
    const unsigned char *q = from;
    while (length--)
        *p++ = *q++;
    return to;
}

int memcmp(const void *a, const void *b, size_t length) {
    const unsigned char *p = a, *q = b;
    for (; length; length--, p++, q++)
        if (*p != *q)
            return *p - *q;
    return 0;
}

size_t strlen(const char *text) {
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

struct line {
    char text[256];
    size_t used;
};

static void put(struct line *line, char c) {
    if (line->used == sizeof(line->text)) {
        console_write(line->text, line->used);
        line->used = 0;
    }
    line->text[line->used++] = c;
}

/* Long division by hand: a 32-bit guest has no library for 64-bit `/`. */
static unsigned divide(uint64_t *value, unsigned base) {
    uint64_t quotient = 0;
    unsigned rest = 0;
    for (int bit = 63; bit >= 0; bit--) {
        rest = rest << 1 | (*value >> bit & 1);
        if (rest >= base) {
            rest -= base;
            quotient |= 1ull << bit;
        }
    }
    *value = quotient;
    return rest;
}

static void number(struct line *line, uint64_t value, unsigned base, int negative, int width, char pad) {
    char digits[24];
    int n = 0;
    do {
        digits[n++] = "0123456789abcdef"[divide(&value, base)];
    } while (value);
    if (negative)
        digits[n++] = '-';
    for (; width > n; width--)
        put(line, pad);
    while (n)
        put(line, digits[--n]);
}

static void format_line(struct line *line, const char *format, va_list args) {
    for (; *format; format++) {
        if (*format != '%') {
            put(line, *format);
            continue;
        }
        char pad = ' ';
        int width = 0, longs = 0;
        if (*++format == '0')
            pad = '0';
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + *format - '0';
        for (; *format == 'l'; format++)
            longs++;
        uint64_t value = 0;
        if (*format == 'd' || *format == 'u' || *format == 'x')
            value = longs == 2 ? va_arg(args, uint64_t) : longs == 1 ? va_arg(args, unsigned long) : va_arg(args, unsigned);
        switch (*format) {
        case 'c':
            put(line, va_arg(args, int));
            break;
        case 's':
            for (const char *s = va_arg(args, const char *); *s; s++)
                put(line, *s);
            break;
        case 'd': {
            int64_t n = longs == 2 ? (int64_t)value : longs == 1 ? (int64_t)(long)value : (int64_t)(int)value;
            number(line, n < 0 ? -(uint64_t)n : (uint64_t)n, 10, n < 0, width, pad);
            break;
        }
        case 'u':
        case 'x':
            number(line, value, *format == 'x' ? 16 : 10, 0, width, pad);
            break;
        case 'p':
            number(line, (unsigned long)va_arg(args, void *), 16, 0, sizeof(long) * 2, '0');
            break;
        default:
            put(line, *format);
        }
    }
}

static void print_args(const char *format, va_list args) {
    struct line line;
    line.used = 0;
    format_line(&line, format, args);
    console_write(line.text, line.used);
}

void print(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_args(format, args);
    va_end(args);
}

static enum verdict worst;
static int reported;

void report(enum verdict verdict, const char *why, ...) {
    static const char *const words[] = {"Success: ", "Skip: ", "Error: ", "Failure: "};
    if (verdict > worst)
        worst = verdict;
    reported = 1;
    if (!why)
        return;
    va_list args;
    va_start(args, why);
    console_write(words[verdict], strlen(words[verdict]));
    print_args(why, args);
    console_write("\n", 1);
    va_end(args);
}

void report_print(void) {
    static const char *const words[] = {"SUCCESS", "SKIP", "ERROR", "FAILURE"};
    if (reported)
        print("Test result: %s\n", words[worst]);
}
