/*
 * md5_lanes.h - MD5 of many messages in parallel, for one vector width
 *
 * md5_many.c includes this file once per width, after defining
 *     LANES       words in a vector
 *     TARGET      __attribute__((target(...))) for the instructions, or nothing
 *     REGISTER    the asm constraint of a vector register
 *     G_MIXER     MD5_G, or the fastest form of it for this width
 *     NAME(x)     x with a suffix for this width
 *     LOW_WORDS, HIGH_WORDS, LOW_PAIRS, HIGH_PAIRS
 *                 shuffles that interleave the low (high) halves of each 16 bytes of two
 *                 vectors
 * A step needs the result of the one before, so the code alternates between two
 * independent vectors, `x` and `y`. A lane that has finished its message takes the next
 * one, so messages of different lengths do not wait for each other.
 */

#define WORDS    NAME(words)
#define PAIRS    NAME(pairs)
#define BLOCKS   NAME(blocks)
#define STATE    NAME(state)
#define LANE_SET NAME(lanes)
typedef uint32_t WORDS __attribute__((vector_size(4 * LANES)));
typedef uint64_t PAIRS __attribute__((vector_size(4 * LANES)));

/* One block of each of LANES messages, in pieces: piece p of lane l is at
 * [p][l % 4][l / 4], so a vector holds the same piece of every fourth lane. */
struct BLOCKS {
    unsigned char piece[4][4][LANES / 4][MD5_PIECE];
};

struct STATE {
    WORDS a, b, c, d;
};

struct LANE_SET {
    struct BLOCKS blocks;
    uint32_t fresh[LANES]; /* all ones if this block is the lane's first of a message */
    struct md5_message message[LANES];
    size_t number[LANES]; /* of the message */
    bool busy[LANES];     /* its message has more blocks */
    bool last[LANES];     /* this block is its message's last */
};

/* Fills each lane with its next block, and idle lanes with the next message. Returns
 * false if there was nothing left to do. */
TARGET static bool NAME(fill)(struct LANE_SET *lanes, struct md5_queue *queue)
{
    bool any = false;
    for (unsigned l = 0; l < LANES; l++) {
        struct md5_message message;
        if (lanes->busy[l]) {
            message = lanes->message[l];
            lanes->fresh[l] = 0;
        } else if (queue->next < queue->count) {
            const ketama_key *key = &queue->keys[queue->next];
            message = md5_message(key->bytes, key->len);
            lanes->number[l] = queue->next++;
            lanes->fresh[l] = UINT32_MAX;
        } else {
            lanes->last[l] = false;
            continue;
        }
        lanes->last[l] = md5_next_block(&message, lanes->blocks.piece[0][l % 4][l / 4],
                                        sizeof lanes->blocks.piece[0]);
        lanes->busy[l] = !lanes->last[l];
        if (lanes->busy[l])
            lanes->message[l] = message;
        any = true;
    }
    return any;
}

/* Transposes the pieces: four rows with four words per lane become four vectors with one
 * word of each lane. */
TARGET static inline void NAME(load)(const struct BLOCKS *blocks, WORDS w[16])
{
    for (unsigned p = 0; p < 4; p++) {
        WORDS row[4];
        for (unsigned i = 0; i < 4; i++)
            memcpy(&row[i], blocks->piece[p][i], sizeof row[i]);
        PAIRS low01 = (PAIRS)SHUFFLE(WORDS, row[0], row[1], LOW_WORDS);
        PAIRS high01 = (PAIRS)SHUFFLE(WORDS, row[0], row[1], HIGH_WORDS);
        PAIRS low23 = (PAIRS)SHUFFLE(WORDS, row[2], row[3], LOW_WORDS);
        PAIRS high23 = (PAIRS)SHUFFLE(WORDS, row[2], row[3], HIGH_WORDS);
        w[4 * p] = (WORDS)SHUFFLE(PAIRS, low01, low23, LOW_PAIRS);
        w[4 * p + 1] = (WORDS)SHUFFLE(PAIRS, low01, low23, HIGH_PAIRS);
        w[4 * p + 2] = (WORDS)SHUFFLE(PAIRS, high01, high23, LOW_PAIRS);
        w[4 * p + 3] = (WORDS)SHUFFLE(PAIRS, high01, high23, HIGH_PAIRS);
    }
}

TARGET static inline void NAME(begin)(const uint32_t fresh[LANES], struct STATE *s)
{
    WORDS mask;
    memcpy(&mask, fresh, sizeof mask);
    s->a = (s->a & ~mask) | (MD5_START_A & mask);
    s->b = (s->b & ~mask) | (MD5_START_B & mask);
    s->c = (s->c & ~mask) | (MD5_START_C & mask);
    s->d = (s->d & ~mask) | (MD5_START_D & mask);
}

#define HALF_STEP(half, mix, a, b, c, d, word, bits, constant)                          \
    do {                                                                                \
        WORDS first = a##half + (w##half[word] + (constant)), mixed;                    \
        __asm__("" : "+" REGISTER(first)); /* see TOGETHER in md5.c */                  \
        mixed = mix(first, b##half, c##half, d##half);                                  \
        a##half = b##half + MD5_ROTATE(mixed, bits);                                    \
    } while (0)
#define STEP(mix, a, b, c, d, word, bits, constant)                                     \
    HALF_STEP(x, mix, a, b, c, d, word, bits, constant);                                \
    HALF_STEP(y, mix, a, b, c, d, word, bits, constant)

TARGET static void NAME(mix)(const struct BLOCKS *x, struct STATE *sx,
                             const struct BLOCKS *y, struct STATE *sy)
{
    WORDS wx[16], wy[16];
    WORDS ax = sx->a, bx = sx->b, cx = sx->c, dx = sx->d;
    WORDS ay = sy->a, by = sy->b, cy = sy->c, dy = sy->d;

    NAME(load)(x, wx);
    NAME(load)(y, wy);
    MD5_STEPS(STEP, MD5_F, G_MIXER, MD5_H, MD5_I);
    *sx = (struct STATE){sx->a + ax, sx->b + bx, sx->c + cx, sx->d + dx};
    *sy = (struct STATE){sy->a + ay, sy->b + by, sy->c + cy, sy->d + dy};
}

/* Writes the first `words` words of each finished digest. */
static void NAME(store)(struct LANE_SET *lanes, const struct STATE *s, unsigned words,
                        uint32_t *digests)
{
    uint32_t state[4][LANES];
    memcpy(state, s, sizeof state);
    for (unsigned l = 0; l < LANES; l++) {
        if (!lanes->last[l])
            continue;
        for (unsigned i = 0; i < words; i++)
            digests[lanes->number[l] * words + i] = state[i][l];
    }
}

TARGET static void NAME(digests)(const ketama_key *keys, size_t count, unsigned words,
                                 uint32_t *digests)
{
    struct md5_queue queue = {keys, count, 0};
    struct LANE_SET x, y;
    struct STATE sx = {0}, sy = {0};

    memset(x.busy, 0, sizeof x.busy);
    memset(y.busy, 0, sizeof y.busy);
    if (count < 2 * LANES) { /* lanes without a message are mixed as well */
        memset(&x.blocks, 0, sizeof x.blocks);
        memset(&y.blocks, 0, sizeof y.blocks);
        memset(x.fresh, 0, sizeof x.fresh);
        memset(y.fresh, 0, sizeof y.fresh);
    }
    for (;;) {
        bool any_x = NAME(fill)(&x, &queue), any_y = NAME(fill)(&y, &queue);
        if (!any_x && !any_y)
            return;
        NAME(begin)(x.fresh, &sx);
        NAME(begin)(y.fresh, &sy);
        NAME(mix)(&x.blocks, &sx, &y.blocks, &sy);
        NAME(store)(&x, &sx, words, digests);
        NAME(store)(&y, &sy, words, digests);
    }
}

#undef HALF_STEP
#undef STEP
#undef LANES
#undef TARGET
#undef REGISTER
#undef G_MIXER
#undef NAME
#undef WORDS
#undef PAIRS
#undef BLOCKS
#undef STATE
#undef LANE_SET
#undef LOW_WORDS
#undef HIGH_WORDS
#undef LOW_PAIRS
#undef HIGH_PAIRS
