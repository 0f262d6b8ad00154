-- lookup.lua - print the server of each key. For LuaJIT, through its ffi library.
--
--     luajit lookup.lua /etc/ketama.servers <keys
--
-- Reads keys, one per line, and prints key, point and address, separated by tabs. The
-- continuum is in shared memory: the first program of a user that opens the server file
-- builds it, and all others, in whatever language, attach to it.
local ffi = require("ffi")

-- The parts of ketama.h that are used here, verbatim. ketama.h is the manual.
ffi.cdef([[
typedef struct ketama_handle *ketama_continuum;
typedef struct ketama_server {
    const char *address;
    const char *name;
    uint64_t weight;
    uint64_t share;
    uint32_t points;
} ketama_server;
enum { KETAMA_OK = 0, KETAMA_CHANGED = 1 };

typedef struct ketama_options ketama_options;
int ketama_open(ketama_continuum *c, const char *path, const ketama_options *options);
int ketama_refresh(ketama_continuum c, ketama_continuum *newer);
void ketama_close(ketama_continuum c);
uint32_t ketama_find(ketama_continuum c, const void *key, size_t len, uint32_t *point);
int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server);
const char *ketama_error(void);
]])
local lib = ffi.load(os.getenv("KETAMA_LIBRARY") or "libketama.so.1")

-- A handle is one version of the file, and is closed once: by the garbage collector, or
-- earlier by this function, which then disables the collector's call.
local function close(handle)
    lib.ketama_close(ffi.gc(handle, nil))
end

-- Returns nil and a message if the file is missing or invalid, like io.open.
local function open(path)
    local handle = ffi.new("ketama_continuum[1]")
    if lib.ketama_open(handle, path, nil) ~= lib.KETAMA_OK then
        return nil, ffi.string(lib.ketama_error())
    end
    return ffi.gc(handle[0], lib.ketama_close)
end

-- Reloads the file if it has changed, which usually costs one stat(2). If the file is
-- missing or invalid, the old continuum stays.
local function newest(continuum)
    local newer = ffi.new("ketama_continuum[1]")
    if lib.ketama_refresh(continuum, newer) == lib.KETAMA_CHANGED then
        close(continuum)
        return ffi.gc(newer[0], lib.ketama_close)
    end
    return continuum
end

local point, server = ffi.new("uint32_t[1]"), ffi.new("ketama_server")

-- A Lua string is bytes, and so is a key. Other languages encode text as UTF-8.
local function find(continuum, key)
    local index = lib.ketama_find(continuum, key, #key, point)
    lib.ketama_server_at(continuum, index, server)
    return point[0], ffi.string(server.address) -- a copy, valid after close()
end

local continuum, message = open(arg[1] or error("usage: luajit lookup.lua SERVERFILE"))
if not continuum then
    io.stderr:write(message, "\n")
    os.exit(1)
end
io.stdout:setvbuf("line")
for key in io.lines() do -- io.lines truncates at a NUL; ketama_find does not
    continuum = newest(continuum)
    io.write(key, "\t", table.concat({ find(continuum, key) }, "\t"), "\n")
end
close(continuum)
