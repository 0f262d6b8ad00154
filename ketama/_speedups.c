/*
 * _speedups.c - ketama.lookups.Lookups for CPython, without the overhead of cffi
 *
 * A class with the same methods, for keys that are str or bytes. All other arguments go
 * to the methods of the class in lookups.py, which handle every case and every error.
 * Uses the limited API only, so one binary serves all versions from 3.10 on.
 *
 * The GIL is the only lock; builds of CPython without it do not get this module.
 */
#include <Python.h>

#include <string.h>

#include "_speedups.h"

/* One set per process, stored when the module makes its class. */
static const struct speedups_functions *functions;
static PyObject *fallback; /* the class in lookups.py */
static PyObject *packed;   /* the class of packed keys, which the fallback handles */
static PyObject *mask_of;  /* the function of that name in lookups.py */

typedef struct {
    PyObject head;
    PyObject *now;       /* Python's _now: (handle, addresses, pointer), or NULL */
    PyObject *addresses; /* borrowed from `now` */
    ketama_continuum c;  /* valid while `now` holds the handle */
    PyObject *exclude;   /* the frozenset that was excluded last, or NULL, */
    PyObject *mask;      /* and what mask_of() made of it and `addresses` */
} Lookups;

/* ---- The current version */

static PyObject *get_now(PyObject *object, void *closure)
{
    Lookups *self = (Lookups *)object;
    (void)closure;
    if (self->now == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_now");
        return NULL;
    }
    Py_INCREF(self->now);
    return self->now;
}

static int set_now(PyObject *object, PyObject *value, void *closure)
{
    Lookups *self = (Lookups *)object;
    PyObject *handle, *addresses, *old = self->now;
    unsigned long long pointer;
    (void)closure;

    if (value == NULL || !PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_now must be a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(value, "OO!K", &handle, &PyTuple_Type, &addresses, &pointer))
        return -1;
    PyObject *exclude = self->exclude, *mask = self->mask;
    Py_INCREF(value);
    self->now = value;
    self->addresses = addresses;
    self->c = (ketama_continuum)(uintptr_t)pointer;
    self->exclude = self->mask = NULL;
    Py_XDECREF(old); /* last, because it may run arbitrary code */
    Py_XDECREF(exclude);
    Py_XDECREF(mask);
    return 0;
}

/* Refreshes if that is due. Returns 0 with an exception set on failure. */
static int is_ready(Lookups *self)
{
    if (self->now == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_now");
        return 0;
    }
    if (functions->due(self->c)) {
        PyObject *now = PyObject_CallMethod((PyObject *)self, "_roll_quietly", NULL);
        if (now == NULL)
            return 0;
        Py_DECREF(now);
    }
    return 1;
}

/* One version, and which of its servers are excluded. */
struct version {
    PyObject *now, *addresses;
    ketama_continuum c;
    PyObject *mask; /* NULL: none is */
};

static void version_free(struct version *version)
{
    Py_XDECREF(version->now);
    Py_XDECREF(version->mask);
}

static const unsigned char *excluded_in(const struct version *version)
{
    return (const unsigned char *)PyBytes_AsString(version->mask);
}

/* A frozenset never changes, so what was made of the last one is kept. */
static PyObject *make_mask(Lookups *self, PyObject *exclude,
                           const struct version *version)
{
    if (exclude == self->exclude) {
        Py_INCREF(self->mask);
        return self->mask;
    }
    PyObject *mask =
        PyObject_CallFunctionObjArgs(mask_of, exclude, version->addresses, NULL);
    if (mask != NULL && PyFrozenSet_CheckExact(exclude) && self->now == version->now) {
        PyObject *old_exclude = self->exclude, *old_mask = self->mask;
        Py_INCREF(exclude);
        Py_INCREF(mask);
        self->exclude = exclude;
        self->mask = mask;
        Py_XDECREF(old_exclude);
        Py_XDECREF(old_mask);
    }
    return mask;
}

/* Takes the current version, refreshed if that is due; to be freed. exclude: NULL, or as
 * in Python. Returns 0 with an exception set on failure. */
static int take_version(Lookups *self, PyObject *exclude, struct version *version)
{
    *version = (struct version){NULL, NULL, NULL, NULL};
    if (!is_ready(self))
        return 0;
    Py_INCREF(self->now);
    version->now = self->now;
    version->addresses = self->addresses;
    version->c = self->c;
    if (exclude == NULL || exclude == Py_None)
        return 1;
    version->mask = make_mask(self, exclude, version);
    return version->mask != NULL;
}

/* Reads the arguments (first, exclude=None). Returns 0 if they are others. */
static int read_arguments(Py_ssize_t count, PyObject *names, PyObject *const *args,
                          PyObject **exclude)
{
    Py_ssize_t named = names != NULL ? PyTuple_Size(names) : 0;
    *exclude = count + named == 2 ? args[1] : NULL;
    return (count == 1 && named == 0) || (count == 2 && named == 0) ||
           (count == 1 && named == 1 &&
            PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "exclude") == 0);
}

/* ---- One key */

/* Returns 0, without an exception, if the key is neither str nor bytes, or cannot be
 * encoded. */
static int read_key(PyObject *object, ketama_key *key)
{
    Py_ssize_t len;
    /* The exact check first: the other one is a call. */
    if (PyUnicode_CheckExact(object) || PyUnicode_Check(object)) {
        key->bytes = PyUnicode_AsUTF8AndSize(object, &len);
        if (key->bytes == NULL) {
            PyErr_Clear();
            return 0;
        }
    } else if (PyBytes_Check(object)) {
        key->bytes = PyBytes_AsString(object);
        len = PyBytes_Size(object);
    } else {
        return 0;
    }
    key->len = (size_t)len;
    return 1;
}

/* Calls a method of the class in lookups.py. */
static PyObject *call_fallback(const char *name, PyObject *self, PyObject *const *args,
                               Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names != NULL ? PyTuple_Size(names) : 0;
    PyObject *method = PyObject_GetAttrString(fallback, name), *result = NULL;
    PyObject *tuple = PyTuple_New(count + 1), *dict = named > 0 ? PyDict_New() : NULL;

    if (method == NULL || tuple == NULL || (named > 0 && dict == NULL))
        goto out;
    Py_INCREF(self);
    if (PyTuple_SetItem(tuple, 0, self) != 0)
        goto out;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_INCREF(args[i]);
        if (PyTuple_SetItem(tuple, i + 1, args[i]) != 0)
            goto out;
    }
    for (Py_ssize_t i = 0; i < named; i++)
        if (PyDict_SetItem(dict, PyTuple_GetItem(names, i), args[count + i]) != 0)
            goto out;
    result = PyObject_Call(method, tuple, dict);
out:
    Py_XDECREF(method);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return result;
}

static PyObject *address_of(Lookups *self, uint32_t server)
{
    PyObject *address = PyTuple_GetItem(self->addresses, (Py_ssize_t)server);
    Py_XINCREF(address);
    return address;
}

static PyObject *lookup_among(Lookups *self, const ketama_key *key, PyObject *exclude)
{
    struct version version;
    PyObject *address = NULL;

    if (take_version(self, exclude, &version)) {
        uint32_t server = functions->find_among(version.c, key->bytes, key->len,
                                                excluded_in(&version), NULL);
        address = server != KETAMA_NO_SERVER
                      ? PyTuple_GetItem(version.addresses, (Py_ssize_t)server)
                      : Py_None;
        Py_XINCREF(address);
    }
    version_free(&version);
    return address;
}

static PyObject *lookup(PyObject *object, PyObject *const *args, Py_ssize_t count,
                        PyObject *names)
{
    Lookups *self = (Lookups *)object;
    PyObject *exclude = NULL;
    ketama_key key;

    if (((count != 1 || names != NULL) &&
         !read_arguments(count, names, args, &exclude)) ||
        !read_key(args[0], &key))
        return call_fallback("lookup", object, args, count, names);
    if (exclude != NULL && exclude != Py_None)
        return lookup_among(self, &key, exclude);
    if (!is_ready(self))
        return NULL;
    return address_of(self, functions->find(self->c, key.bytes, key.len, NULL));
}

static PyObject *subscript(PyObject *self, PyObject *key)
{
    return lookup(self, &key, 1, NULL);
}

static PyObject *point_and_address(Lookups *self, const ketama_key *key)
{
    uint32_t point;
    PyObject *pair = NULL;

    if (!is_ready(self))
        return NULL;
    /* First of all, because the rest may run the garbage collector, and with it
     * arbitrary code, which may roll. */
    PyObject *address =
        address_of(self, functions->find(self->c, key->bytes, key->len, &point));
    PyObject *number = PyLong_FromUnsignedLong(point);
    if (address != NULL && number != NULL)
        pair = PyTuple_Pack(2, number, address);
    Py_XDECREF(address);
    Py_XDECREF(number);
    return pair;
}

static PyObject *get_server(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    ketama_key key;
    if (count != 1 || names != NULL || !read_key(args[0], &key) ||
        memchr(key.bytes, '\0', key.len) != NULL)
        return call_fallback("get_server", self, args, count, names);
    return point_and_address((Lookups *)self, &key);
}

static PyObject *find_point(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    ketama_key key;
    if (count != 1 || names != NULL || !read_key(args[0], &key))
        return call_fallback("_find_point", self, args, count, names);
    return point_and_address((Lookups *)self, &key);
}

/* ---- Many keys */

enum {
    FEW = 128,   /* up to this many keys, nothing is allocated */
    LONG = 4096, /* from this many keys on, other threads may run meanwhile */
};

struct batch {
    PyObject *items; /* a tuple: a list might change meanwhile */
    Py_ssize_t count;
    struct version version; /* one for all keys */
    uint32_t *servers;      /* the result: an index per key */
    ketama_key *keys;
    uint32_t few_servers[FEW];
    ketama_key few_keys[FEW];
};

static void batch_free(struct batch *batch)
{
    if (batch->count > FEW) {
        PyMem_Free(batch->servers);
        PyMem_Free(batch->keys);
    }
    Py_XDECREF(batch->items);
    version_free(&batch->version);
}

enum found { FOUND, FALL_BACK, FAILED };

static void find_keys(const struct batch *batch)
{
    ketama_continuum c = batch->version.c;
    size_t count = (size_t)batch->count;
    if (batch->version.mask == NULL)
        functions->find_many(c, batch->keys, count, batch->servers, NULL);
    else
        functions->find_many_among(c, batch->keys, count, excluded_in(&batch->version),
                                   batch->servers, NULL);
}

/* Finds all keys. FALL_BACK: lookups.py must handle at least one of them; pass it
 * batch->items. */
static enum found find_batch(Lookups *self, PyObject *keys, PyObject *exclude,
                             struct batch *batch)
{
    batch->items = NULL;
    batch->version = (struct version){NULL, NULL, NULL, NULL};
    batch->count = 0;
    if (PyUnicode_Check(keys) || PyBytes_Check(keys) || PyByteArray_Check(keys) ||
        PyMemoryView_Check(keys) ||
        PyType_IsSubtype(Py_TYPE(keys), (PyTypeObject *)packed)) {
        Py_INCREF(keys);
        batch->items = keys;
        return FALL_BACK;
    }
    batch->items = PySequence_Tuple(keys);
    if (batch->items == NULL)
        return FAILED;
    batch->count = PyTuple_Size(batch->items);
    batch->keys = batch->few_keys;
    batch->servers = batch->few_servers;
    if (batch->count > FEW) {
        batch->keys = PyMem_Malloc((size_t)batch->count * sizeof *batch->keys);
        batch->servers = PyMem_Malloc((size_t)batch->count * sizeof *batch->servers);
        if (batch->keys == NULL || batch->servers == NULL) {
            PyErr_NoMemory();
            return FAILED;
        }
    }
    for (Py_ssize_t i = 0; i < batch->count; i++)
        if (!read_key(PyTuple_GetItem(batch->items, i), &batch->keys[i]))
            return FALL_BACK;
    if (!take_version(self, exclude, &batch->version))
        return FAILED;
    if (batch->count < LONG) {
        find_keys(batch);
    } else {
        PyThreadState *saved = PyEval_SaveThread();
        find_keys(batch);
        PyEval_RestoreThread(saved);
    }
    return FOUND;
}

/* Finds the keys and makes the result from the batch, or falls back to lookups.py. */
static PyObject *find_and_make(const char *name, PyObject *self, PyObject *const *args,
                               Py_ssize_t count, PyObject *names,
                               PyObject *(*make)(const struct batch *))
{
    struct batch batch;
    PyObject *exclude;
    if (!read_arguments(count, names, args, &exclude))
        return call_fallback(name, self, args, count, names);
    enum found found = find_batch((Lookups *)self, args[0], exclude, &batch);
    PyObject *again[] = {batch.items, exclude};
    PyObject *result =
        found == FOUND ? make(&batch)
        : found == FALL_BACK
            ? call_fallback(name, self, again, exclude != NULL ? 2 : 1, NULL)
            : NULL;
    batch_free(&batch);
    return result;
}

static PyObject *address_in(const struct batch *batch, Py_ssize_t i)
{
    uint32_t server = batch->servers[i];
    return server != KETAMA_NO_SERVER
               ? PyTuple_GetItem(batch->version.addresses, (Py_ssize_t)server)
               : Py_None;
}

static PyObject *make_addresses(const struct batch *batch)
{
    PyObject *list = PyList_New(batch->count);
    for (Py_ssize_t i = 0; list != NULL && i < batch->count; i++) {
        PyObject *address = address_in(batch, i);
        Py_XINCREF(address);
        if (address == NULL || PyList_SetItem(list, i, address) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *make_groups(const struct batch *batch)
{
    PyObject *groups = PyDict_New();
    for (Py_ssize_t i = 0; groups != NULL && i < batch->count; i++) {
        PyObject *address = address_in(batch, i);
        PyObject *group = address ? PyDict_GetItemWithError(groups, address) : NULL;
        int good = group != NULL;
        if (address != NULL && group == NULL && !PyErr_Occurred()) {
            group = PyList_New(0);
            good = group != NULL && PyDict_SetItem(groups, address, group) == 0;
            Py_XDECREF(group); /* the dict owns it */
        }
        if (!good || PyList_Append(group, PyTuple_GetItem(batch->items, i)) != 0)
            Py_CLEAR(groups);
    }
    return groups;
}

static PyObject *make_indexes(const struct batch *batch)
{
    /* No "y#": built with CPython 3.13's headers, it fails on 3.12 and older. */
    PyObject *indexes = PyBytes_FromStringAndSize(
        (const char *)batch->servers, batch->count * (Py_ssize_t)sizeof *batch->servers);
    if (indexes == NULL)
        return NULL;
    return Py_BuildValue("(Nn)", indexes, PyTuple_Size(batch->version.addresses));
}

static PyObject *lookup_many(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    return find_and_make("lookup_many", self, args, count, names, make_addresses);
}

static PyObject *group_by_server(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    return find_and_make("group_by_server", self, args, count, names, make_groups);
}

static PyObject *index_each(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    return find_and_make("_index_each", self, args, count, names, make_indexes);
}

/* ---- The class */

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Lookups *)self)->now);
    Py_VISIT(((Lookups *)self)->exclude);
    return 0;
}

static int clear(PyObject *self)
{
    Py_CLEAR(((Lookups *)self)->now);
    Py_CLEAR(((Lookups *)self)->exclude);
    Py_CLEAR(((Lookups *)self)->mask);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject_GC_UnTrack(self);
    (void)clear(self);
    release(self);
    Py_DECREF(type);
}

static PyGetSetDef getset[] = {{"_now", get_now, set_now, NULL, NULL}, {0}};

#define FAST(name, function, parameters)                                                \
    {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS,      \
     parameters}

/* ml_doc is the signature, to which copy_docs() appends the text. */
static PyMethodDef methods[] = {
    FAST("lookup", lookup, "($self, key, exclude=None)"),
    FAST("get_server", get_server, "($self, key)"),
    FAST("_find_point", find_point, "($self, key)"),
    FAST("lookup_many", lookup_many, "($self, keys, exclude=None)"),
    FAST("group_by_server", group_by_server, "($self, keys, exclude=None)"),
    FAST("_index_each", index_each, "($self, keys, exclude=None)"),
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "ketama.lookups.Lookups in C."},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {Py_tp_getset, getset},
    {Py_tp_methods, methods},
    {Py_mp_subscript, subscript},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "ketama._speedups.Lookups",
    .basicsize = sizeof(Lookups),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* Copies each method's documentation from lookups.py; the text is never freed. */
static int copy_docs(void)
{
    for (PyMethodDef *method = methods; method->ml_name != NULL; method++) {
        PyObject *documented = PyObject_GetAttrString(fallback, method->ml_name), *text;
        if (documented == NULL)
            return -1;
        text = PyObject_GetAttrString(documented, "__doc__");
        Py_DECREF(documented);
        if (text == NULL)
            return -1;
        PyObject *whole = PyUnicode_FromFormat("%s%s\n--\n\n%S", method->ml_name,
                                               method->ml_doc, text);
        Py_DECREF(text);
        if (whole == NULL)
            return -1;
        method->ml_doc =
            PyUnicode_AsUTF8AndSize(whole, NULL); /* valid as long as `whole` */
        if (method->ml_doc == NULL)
            return -1;
    }
    return 0;
}

static PyObject *make_class(PyObject *module, PyObject *args)
{
    static PyObject *made;
    unsigned long long address;
    PyObject *fallback_class, *packed_class, *mask_function;
    (void)module;

    if (!PyArg_ParseTuple(args, "KOOO:make_class", &address, &fallback_class,
                          &packed_class, &mask_function))
        return NULL;
    if (fallback != NULL && fallback != fallback_class) {
        PyErr_SetString(PyExc_ImportError, "ketama._speedups is in use by another "
                                           "interpreter or another import of ketama");
        return NULL;
    }
    functions = (const struct speedups_functions *)(uintptr_t)address;
    if (functions->size != sizeof *functions) {
        PyErr_SetString(PyExc_ImportError,
                        "ketama._speedups and ketama._ketama are from "
                        "different builds");
        return NULL;
    }
    if (fallback == NULL) {
        Py_INCREF(fallback_class);
        Py_INCREF(packed_class);
        Py_INCREF(mask_function);
        fallback = fallback_class;
        packed = packed_class;
        mask_of = mask_function;
        if (copy_docs() != 0)
            return NULL;
    }
    if (made == NULL)
        made = PyType_FromSpec(&spec);
    Py_XINCREF(made);
    return made;
}

static PyMethodDef functions_of_module[] = {
    {"make_class", make_class, METH_VARARGS,
     "make_class(functions, fallback, packed, mask_of, /)\n--\n\n"
     "Return the class, which calls these C functions and otherwise `fallback`."},
    {0},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ketama._speedups",
    .m_doc = "Lookups without the overhead of cffi.",
    .m_size = -1,
    .m_methods = functions_of_module,
};

PyMODINIT_FUNC PyInit__speedups(void)
{
    return PyModule_Create(&definition);
}
