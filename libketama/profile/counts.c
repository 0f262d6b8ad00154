/*
 * counts.c - how many labels a server gets
 */
#include "profile.h"

#ifdef __FAST_MATH__
#error "roundings are part of the answers: compile without -ffast-math"
#endif

/*
 * The float rule. A server gets 40 labels times its share of the weight times the number
 * of servers, computed as the 2007 libketama's compiler did: in single precision where a
 * float was written, and each step rounded on its own. The roundings are part of the
 * answer: 61 equal servers get 39 labels each, not 40. Do not simplify. volatile forces
 * the rounding on compilers that would keep more digits.
 */
uint32_t ketama_count_ratio_a(uint64_t weight, uint64_t total_weight, uint32_t servers)
{
    volatile float own = (float)weight, all = (float)total_weight, part = own / all;
    volatile double exact = (double)part * 40.0 * (double)(float)servers;
    volatile float labels = (float)exact;
    return (uint32_t)labels; /* truncates, which is floor, as it is never negative */
}
