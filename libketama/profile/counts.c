/*
 * counts.c - how many labels a server gets
 */
#include "profile.h"

#include "../wide.h"

#include <float.h>

#ifdef __FAST_MATH__
#error "roundings are part of the answers: compile without -ffast-math"
#endif

enum { LABELS = 40 }; /* of a server with its fair share of the weight */

/*
 * The roundings are part of the answer: in libketama, 61 equal servers get 39 labels
 * each, not 40. Each step rounds on its own, as in the program that the rule is from. Do
 * not simplify.
 *
 * Where operations are evaluated to the precision of their type, a cast is enough; there
 * is no addition that a compiler could fuse with a product. Elsewhere, such as on the
 * x87, compilers keep more digits in registers, and a volatile variable has none of
 * them.
 */
#if FLT_EVAL_METHOD == 0
#define ROUNDED
#else
#define ROUNDED volatile
#endif

static float to_single(double value)
{
    ROUNDED float rounded = (float)value;
    return rounded;
}

static double to_double(double value)
{
    ROUNDED double rounded = value;
    return rounded;
}

/* The share of the weight, in single precision. The quotient is rounded twice, first to
 * double, which cannot change it: a double has more than twice the digits. */
static float single_share(const struct ketama_layout *layout, uint64_t weight)
{
    ROUNDED float own = (float)weight, all = (float)layout->servers->total_weight;
    return to_single(to_double((double)own / (double)all));
}

static double double_share(const struct ketama_layout *layout, uint64_t weight)
{
    ROUNDED double own = (double)weight, all = (double)layout->servers->total_weight;
    return to_double(own / all);
}

/* floor(f(f(f(w) / f(W)) * 40.0 * n)), the products in double precision */
uint64_t ketama_count_ratio_a(const struct ketama_layout *layout, uint64_t weight)
{
    double share = (double)single_share(layout, weight);
    double labels =
        to_double(to_double(share * (double)LABELS) * layout->servers->count);
    return (uint64_t)to_single(labels);
}

/* floor(f(f(f(f(f(w) / f(W)) * 160) / 4) * f(n))), all in single precision */
uint64_t ketama_count_ratio_b(const struct ketama_layout *layout, uint64_t weight)
{
    float points = to_single((double)single_share(layout, weight) * 160);
    float labels = to_single((double)points / 4);
    return (uint64_t)to_single((double)labels * layout->servers->count);
}

/* The nearest double. */
static double wide_to_double(struct ketama_wide value)
{
    unsigned shift = 0;
    while (value.high >> shift >> 32 != 0)
        shift++;
    /* The top 64 bits; those below only decide whether it is halfway between two. */
    uint64_t top = value.high << (32 - shift) | value.low >> shift;
    bool is_more = (value.low & ((UINT64_C(1) << shift) - 1)) != 0;
    return to_double((double)(top | is_more)) * (double)(UINT64_C(1) << shift);
}

/* 40 * n * w div W, in integers */
uint64_t ketama_count_ratio_c(const struct ketama_layout *layout, uint64_t weight)
{
    struct ketama_wide labels =
        ketama_wide_multiply(weight, LABELS * layout->servers->count);
    uint64_t rest;
    return ketama_wide_divide(labels, layout->servers->total_weight, &rest);
}

/* floor(((w / W) * 40) * n) */
uint64_t ketama_count_ratio_d(const struct ketama_layout *layout, uint64_t weight)
{
    double labels = to_double(double_share(layout, weight) * (double)LABELS);
    return (uint64_t)to_double(labels * layout->servers->count);
}

/* floor(((w / W) * n) * 40) */
uint64_t ketama_count_ratio_e(const struct ketama_layout *layout, uint64_t weight)
{
    double fair = to_double(double_share(layout, weight) * layout->servers->count);
    return (uint64_t)to_double(fair * (double)LABELS);
}

/* floor(double(n * 160 * w) / double(W)) */
uint64_t ketama_count_ratio_f(const struct ketama_layout *layout, uint64_t weight)
{
    struct ketama_wide points =
        ketama_wide_multiply(weight, 160 * layout->servers->count);
    ROUNDED double all = (double)layout->servers->total_weight;
    return (uint64_t)to_double(wide_to_double(points) / all);
}

uint64_t ketama_count_flat(const struct ketama_layout *layout, uint64_t weight)
{
    (void)weight;
    return layout->dialect->points / layout->profile->points_per_label;
}

/* At most 2^32 - 1, which is too many in any case. */
uint64_t ketama_count_absolute(const struct ketama_layout *layout, uint64_t weight)
{
    uint32_t each = layout->dialect->points / layout->profile->points_per_label;
    return weight > UINT32_MAX / each ? UINT32_MAX : weight * each;
}

/* Of unlike weights, one is above 1. */
bool ketama_ignores_weights(const struct ketama_profile *profile)
{
    if (profile->weighted != NULL)
        profile = profile->weighted;
    return profile->count_labels == ketama_count_flat;
}
