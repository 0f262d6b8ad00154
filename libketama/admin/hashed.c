/*
 * hashed.c - the texts that the points of servers are made from
 */
#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "../profile/profile.h"

int ketama_list_servers(ketama_continuum c, uint32_t first, uint32_t count,
                        struct ketama_server_list *list)
{
    *list = (struct ketama_server_list){.at = calloc(count, sizeof *list->at)};
    if (list->at == NULL)
        return KETAMA_ENOMEM;
    for (; list->count < count; list->count++) {
        ketama_server server;
        int status = ketama_server_at(c, first + list->count, &server);
        if (status != KETAMA_OK)
            return status;
        list->at[list->count] = (struct ketama_listed){
            .address = server.address,
            .address_bytes = (uint32_t)strlen(server.address),
            .name = server.name,
            .name_bytes = server.name != NULL ? (uint32_t)strlen(server.name) : 0,
            .weight = server.weight,
        };
        list->total_weight += server.weight;
    }
    return KETAMA_OK;
}

static int make_names(ketama_continuum c, uint32_t first, uint32_t count,
                      struct ketama_text *names, char **storage)
{
    struct ketama_server_list list;
    ketama_failure failure;
    int status = ketama_list_servers(c, first, count, &list);

    *storage = NULL;
    if (status == KETAMA_OK)
        status = ketama_names_make(&c->dialect, &list, names, storage, &failure);
    if (status != KETAMA_OK && status != KETAMA_ERANGE)
        (void)ketama_store_failure(status, NULL, &failure);
    ketama_servers_free(&list);
    return status;
}

int ketama_hashed_names(ketama_continuum c, struct ketama_text *names, char **storage)
{
    return make_names(c, 0, ketama_count_servers(c), names, storage);
}

int ketama_hashed_name(ketama_continuum c, uint32_t index, char *text, size_t size)
{
    struct ketama_text name;
    char *storage;
    int status = make_names(c, index, 1, &name, &storage);

    if (status == KETAMA_OK) {
        memcpy(text, name.at, name.bytes < size ? name.bytes : size);
        status = (int)name.bytes;
    }
    free(storage);
    return status;
}
