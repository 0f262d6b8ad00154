/*
 * share.c - attach to the published image of a file, or build and publish one
 *
 * One process builds while the others wait, as long as it makes progress. If it makes
 * none, one of them takes the lock and builds.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"

static const int64_t pause_min_ns = 100000, pause_max_ns = 64 * 1000000;
/* How long to wait for a builder that makes no progress, and for any. */
static const int64_t patience_ns = 700 * 1000000,
                     patience_in_all_ns = INT64_C(60000000000);

/* The published image, if it was found to be out of date. */
struct stale {
    struct ketama_file file;       /* not to be mapped again; */
    struct ketama_segment segment; /* it stays mapped, so that its inode is not reused */
    uint64_t generation;           /* of the image published last; 0: none */
};

uint32_t ketama_identify(const char *path, const char *chosen,
                         char settings[KETAMA_SETTINGS_MAX])
{
    struct ketama_source source;
    struct ketama_text stated = {NULL, 0};
    ketama_failure failure;
    char *text = NULL;

    /* Without a choice, what the file states is used, and need not be read. */
    if (chosen[0] != '\0' &&
        ketama_source_read(path, &source, &text, &failure) == KETAMA_OK)
        stated = ketama_servers_stated(text, (size_t)source.stamp.size_bytes);
    uint32_t profile = ketama_chosen_ring(chosen, stated, settings);
    free(text);
    return profile;
}

/* Is an image that was made from a text which states this the one for the handle's
 * choice? The file may have changed since the handle was identified. */
static bool is_choice(ketama_continuum c, struct ketama_text stated)
{
    char settings[KETAMA_SETTINGS_MAX];
    return ketama_chosen_ring(c->chosen, stated, settings) == c->ring_profile &&
           strcmp(settings, c->ring_settings) == 0;
}

/* Lets the handle look up in an image. */
static void adopt(ketama_continuum c, const struct ketama_image_info *info,
                  bool reliable)
{
    c->view = info->view;
    c->source = info->source;
    atomic_store(&c->stamp_reliable, reliable);
}

bool ketama_is_same_text(const char *path, const struct ketama_source *source,
                         bool *reliable)
{
    struct ketama_source now;
    ketama_failure failure;
    char *text;
    if (ketama_source_read(path, &now, &text, &failure) != KETAMA_OK)
        return false;
    free(text);
    *reliable = ketama_stamp_reliable(&now);
    return ketama_stamp_equal(&source->stamp, &now.stamp) &&
           memcmp(source->md5, now.md5, sizeof now.md5) == 0;
}

/* Is the file still as it was when this was made? */
static bool is_current(const char *path, const struct ketama_source *source,
                       bool *reliable)
{
    struct ketama_stamp now;
    if (ketama_source_stat(path, &now) != KETAMA_OK ||
        !ketama_stamp_equal(&source->stamp, &now))
        return false;
    *reliable = ketama_stamp_reliable(source);
    return *reliable || ketama_is_same_text(path, source, reliable);
}

/* Uses a mapped image if it is sound and has the handle's choice. An image that the
 * handle has built for itself is dropped then. */
static bool use(ketama_continuum c, const struct ketama_segment *segment,
                const struct ketama_image_info *info, bool reliable)
{
    struct ketama_dialect dialect;
    ketama_failure failure;

    if (!ketama_image_intact(&info->view) || atomic_load(info->view.superseded) != 0 ||
        !is_choice(c, info->stated) ||
        ketama_dialect_make(&dialect, c->chosen, info->stated, &failure) != KETAMA_OK)
        return false;
    c->dialect = dialect;
    ketama_image_free(c->image);
    c->image = NULL;
    c->segment = *segment;
    adopt(c, info, reliable);
    return true;
}

/* Attaches to the published image, if it was made from the file as it is now. */
static bool attach(ketama_continuum c, const struct ketama_slot *slot,
                   struct stale *stale)
{
    struct ketama_identity identity = ketama_handle_identity(c);
    struct ketama_image_info info;
    struct ketama_segment segment;
    struct ketama_file file;
    bool reliable = false;

    if (ketama_segment_attach(slot, stale->segment.bytes != NULL ? &stale->file : NULL,
                              &segment, &file) != KETAMA_FOUND)
        return false;
    if (ketama_image_read(segment.bytes, segment.size_bytes, &identity, &info)) {
        if (is_current(c->path, &info.source, &reliable) &&
            use(c, &segment, &info, reliable))
            return true;
        ketama_segment_detach(&stale->segment);
        *stale = (struct stale){file, segment, info.generation};
        return false;
    }
    ketama_segment_detach(&segment);
    return false;
}

/* Attaches to what was published last in the handle's slot, whatever the file is now. */
static bool attach_last(ketama_continuum c)
{
    struct ketama_identity identity = ketama_handle_identity(c);
    struct ketama_image_info info;
    struct ketama_segment segment;
    struct ketama_slot slot;
    struct ketama_file file;

    if (!ketama_slot_open(&slot, &identity))
        return false;
    enum ketama_found found = ketama_segment_attach(&slot, NULL, &segment, &file);
    ketama_slot_close(&slot);
    if (found != KETAMA_FOUND)
        return false;
    if (ketama_image_read(segment.bytes, segment.size_bytes, &identity, &info) &&
        use(c, &segment, &info, false))
        return true;
    ketama_segment_detach(&segment);
    return false;
}

/* Is it still the slot of the handle's image? */
static bool is_slot_of(const struct ketama_slot *slot, ketama_continuum c)
{
    struct ketama_identity identity = ketama_handle_identity(c);
    char name[KETAMA_SLOT_NAME_MAX];
    ketama_slot_name(name, &identity);
    return strcmp(name, slot->name) == 0;
}

/* Publishes the image that the handle has built, and uses the published copy. */
static void publish(ketama_continuum c, const struct ketama_slot *slot,
                    struct stale *stale)
{
    struct ketama_stamp now;
    struct ketama_image_info info;
    struct ketama_segment segment;

    /* An image that is known to be old must not replace one that may be newer. */
    if (!is_slot_of(slot, c) || ketama_source_stat(c->path, &now) != KETAMA_OK ||
        !ketama_stamp_equal(&c->source.stamp, &now) ||
        !ketama_segment_publish(slot, c->image, ketama_image_size(c->image), &segment))
        return;
    ketama_image_locate(c->image, segment.bytes, &info);
    if (atomic_load(info.view.superseded) == 0) {
        ketama_image_free(c->image);
        c->image = NULL;
        c->segment = segment;
        c->view = info.view;
    } else { /* somebody has replaced it already */
        ketama_segment_detach(&segment);
        (void)attach(c, slot, stale);
    }
}

int ketama_build(ketama_continuum c, const struct ketama_server_list *servers,
                 const struct ketama_source *source, uint64_t generation,
                 ketama_failure *failure)
{
    char settings[KETAMA_SETTINGS_MAX];
    int status = ketama_dialect_make(&c->dialect, c->chosen, servers->stated, failure);

    if (status != KETAMA_OK)
        return status;
    c->ring_profile = ketama_chosen_ring(c->chosen, servers->stated, settings);
    strcpy(c->ring_settings, settings); /* a part of what was chosen */
    return ketama_build_in_dialect(c, servers, source, generation, failure);
}

int ketama_build_in_dialect(ketama_continuum c, const struct ketama_server_list *servers,
                            const struct ketama_source *source, uint64_t generation,
                            ketama_failure *failure)
{
    struct ketama_identity identity = ketama_handle_identity(c);
    struct ketama_image_info info;
    struct ketama_ring ring;
    int status = ketama_ring_make(&c->dialect, servers, &ring, failure);

    if (status != KETAMA_OK)
        return status;
    c->image = ketama_image_make(&identity, servers, &ring, source, generation, &info);
    ketama_ring_free(&ring);
    if (c->image == NULL)
        return KETAMA_ENOMEM;
    adopt(c, &info, ketama_stamp_reliable(source));
    return KETAMA_OK;
}

static void touch(void *slot)
{
    ketama_slot_touch(slot);
}

/* slot: its lock is touched to show progress; NULL: there is no slot. */
static int build_from_file(ketama_continuum c, struct ketama_slot *slot,
                           uint64_t generation, ketama_failure *failure)
{
    struct ketama_source source;
    struct ketama_server_list servers;
    char *text;
    int status = ketama_source_read(c->path, &source, &text, failure);

    if (status != KETAMA_OK)
        return status;
    if (slot != NULL)
        ketama_slot_touch(slot);
    status = ketama_servers_parse(text, (size_t)source.stamp.size_bytes, c->chosen,
                                  &servers, failure);
    if (slot != NULL) {
        servers.report = touch;
        servers.whom = slot;
    }
    if (status == KETAMA_OK)
        status = ketama_build(c, &servers, &source, generation, failure);
    ketama_servers_free(&servers);
    free(text);
    return status;
}

/* Sleeps for a time of half to one and a half of `pause`, so that waiters that
 * began at the same time do not all retry at the same time. Returns how long, but not
 * more than was meant, so that patience lasts longer on a busy machine. */
static int64_t sleep_about(int64_t pause)
{
    int64_t begin = ketama_clock_ns(), meant = pause / 2 + begin % pause;
    (void)nanosleep(&(struct timespec){.tv_nsec = (long)meant}, NULL);
    int64_t slept = ketama_clock_ns() - begin;
    return slept < meant ? slept : meant;
}

/* Retries to attach while another process builds. True: attached. False: build, with or
 * without the lock. */
static bool wait_for_builder(ketama_continuum c, struct ketama_slot *slot,
                             struct stale *stale)
{
    struct ketama_progress seen = {0, 0}, now;
    int64_t pause = pause_min_ns, idle = 0, all = 0;

    while (!attach(c, slot, stale)) {
        if (ketama_slot_lock(slot, &now) != KETAMA_LOCK_BUSY || all > patience_in_all_ns)
            return false;
        if (now.inode != seen.inode || now.mtime_ns != seen.mtime_ns)
            idle = 0;
        seen = now;
        if (idle > patience_ns) {
            if (!ketama_slot_break_lock(slot, &seen))
                return false;
            idle = 0;
            continue;
        }
        int64_t slept = sleep_about(pause);
        idle += slept;
        all += slept;
        pause = 2 * pause < pause_max_ns ? 2 * pause : pause_max_ns;
    }
    return true;
}

/* Before and after building, somebody else's image may have appeared, and is as good. */
static int attach_or_build(ketama_continuum c, struct ketama_slot *slot,
                           struct stale *stale, ketama_failure *failure)
{
    struct ketama_stamp now;

    if (ketama_source_stat(c->path, &now) != KETAMA_OK)
        return ketama_set_system_failure(failure, errno, NULL);
    if (wait_for_builder(c, slot, stale) || (slot->lock >= 0 && attach(c, slot, stale)))
        return KETAMA_OK;
    ketama_slot_touch(slot);
    int status = build_from_file(c, slot, stale->generation + 1, failure);
    ketama_slot_touch(slot);
    if (status == KETAMA_OK && !attach(c, slot, stale))
        publish(c, slot, stale);
    return status;
}

int ketama_share(ketama_continuum c, ketama_failure *failure)
{
    struct ketama_identity identity;
    struct stale stale = {.segment.bytes = NULL};
    struct ketama_slot slot;
    char settings[KETAMA_SETTINGS_MAX];

    if ((c->flags & KETAMA_PRIVATE) != 0)
        return build_from_file(c, NULL, 1, failure);
    c->ring_profile = ketama_identify(c->path, c->chosen, settings);
    strcpy(c->ring_settings, settings);
    identity = ketama_handle_identity(c);
    if (!ketama_slot_open(&slot, &identity))
        return build_from_file(c, NULL, 1, failure);
    int status = attach_or_build(c, &slot, &stale, failure);
    ketama_segment_detach(&stale.segment);
    ketama_slot_close(&slot);
    /* It took descriptors that reading the file may have needed. */
    return status == KETAMA_ESYSTEM ? build_from_file(c, NULL, 1, failure) : status;
}

bool ketama_share_last(ketama_continuum c)
{
    char settings[KETAMA_SETTINGS_MAX];

    if ((c->flags & KETAMA_PRIVATE) != 0)
        return false;
    /* What the file stated when it was valid is not known yet: nothing, or all that was
     * chosen. */
    c->ring_profile =
        ketama_chosen_ring(c->chosen, (struct ketama_text){NULL, 0}, settings);
    strcpy(c->ring_settings, settings);
    if (attach_last(c))
        return true;
    c->ring_profile = ketama_profile_libketama.id;
    c->ring_settings[0] = '\0';
    return attach_last(c);
}
