/*
 * wide.h - integers of 96 bits, which 32-bit machines lack as well
 */
#ifndef KETAMA_WIDE_H
#define KETAMA_WIDE_H

#include <stdbool.h>
#include <stdint.h>

struct ketama_wide {
    uint64_t high; /* all but the low 32 bits */
    uint32_t low;
};

static inline struct ketama_wide ketama_wide_multiply(uint64_t a, uint32_t b)
{
    uint64_t low = (a & UINT32_MAX) * b;
    return (struct ketama_wide){(a >> 32) * b + (low >> 32), (uint32_t)low};
}

/* A quotient that does not fit in 64 bits is the largest that does. */
static inline uint64_t ketama_wide_divide(struct ketama_wide dividend, uint64_t divisor,
                                          uint64_t *remainder)
{
    uint64_t high = dividend.high / divisor, rest = dividend.high % divisor;
    uint32_t low = 0;
    for (int bit = 31; bit >= 0; bit--) {
        bool carry = rest >> 63 != 0;
        rest = rest << 1 | (dividend.low >> bit & 1);
        low <<= 1;
        if (carry || rest >= divisor) {
            rest -= divisor;
            low |= 1;
        }
    }
    *remainder = rest;
    return high > UINT32_MAX ? UINT64_MAX : high << 32 | low;
}

#endif
