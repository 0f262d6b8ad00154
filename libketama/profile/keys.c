/*
 * keys.c - key -> hash: which part of a key is hashed, and for many keys at once
 */
#include "profile.h"

#include <string.h>

/* Finds what is between the first `opening` and the next `closing` after it. */
static bool find_tag(const struct ketama_dialect *dialect, ketama_key *part)
{
    const char *opening = memchr(part->bytes, dialect->tag[0], part->len);
    if (opening == NULL)
        return false;
    const char *end = (const char *)part->bytes + part->len, *begin = opening + 1;
    const char *closing = memchr(begin, dialect->tag[1], (size_t)(end - begin));
    if (closing == NULL)
        return false;
    *part = (ketama_key){begin, (size_t)(closing - begin)};
    return true;
}

bool ketama_part_tag(const struct ketama_dialect *dialect, ketama_key *key)
{
    ketama_key tag = *key;
    if (key->len > 0 && find_tag(dialect, &tag) && tag.len > 0)
        *key = tag;
    return true;
}

bool ketama_part_twemproxy(const struct ketama_dialect *dialect, ketama_key *key)
{
    if (dialect->tag[0] != '\0')
        (void)ketama_part_tag(dialect, key);
    return key->len > 0;
}

bool ketama_part_any_tag(const struct ketama_dialect *dialect, ketama_key *key)
{
    if (key->len > 0)
        (void)find_tag(dialect, key);
    return true;
}

/* Where the dialect's text first stands in a key; its length if nowhere. */
static size_t find_text(const struct ketama_dialect *dialect, const ketama_key *key)
{
    size_t size = strlen(dialect->text);
    const char *bytes = key->bytes;
    for (size_t at = 0; at + size <= key->len; at++)
        if (memcmp(bytes + at, dialect->text, size) == 0)
            return at;
    return key->len;
}

bool ketama_part_before(const struct ketama_dialect *dialect, ketama_key *key)
{
    size_t before = find_text(dialect, key);
    if (before > 0)
        key->len = before;
    return true;
}

bool ketama_part_stop(const struct ketama_dialect *dialect, ketama_key *key)
{
    key->len = find_text(dialect, key);
    return true;
}

uint32_t ketama_hash_part(const struct ketama_dialect *dialect, ketama_key key)
{
    return dialect->part(dialect, &key)
               ? dialect->hash(key.bytes, key.len, dialect->seed)
               : 0;
}

/* In vectors, where the hash has them. */
static void hash_whole(const struct ketama_dialect *dialect, const ketama_key *keys,
                       size_t count, uint32_t *hashes)
{
    if (dialect->hash == ketama_hash_md5) {
        ketama_md5_many(keys, count, 1, hashes);
        return;
    }
    for (size_t i = 0; i < count; i++)
        hashes[i] = dialect->hash(keys[i].bytes, keys[i].len, dialect->seed);
}

void ketama_hash_keys(const struct ketama_dialect *dialect, const ketama_key *keys,
                      size_t count, uint32_t *hashes)
{
    ketama_key parts[KETAMA_BATCH];
    bool is_hashed[KETAMA_BATCH];

    if (dialect->part == NULL || count == 0) {
        hash_whole(dialect, keys, count, hashes);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        parts[i] = keys[i];
        is_hashed[i] = dialect->part(dialect, &parts[i]);
    }
    hash_whole(dialect, parts, count, hashes);
    for (size_t i = 0; i < count; i++)
        if (!is_hashed[i])
            hashes[i] = 0;
}
