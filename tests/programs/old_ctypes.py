"""A ctypes program as of 2007: loads libketama.so.1 with the old layouts."""

import ctypes
import sys


class Mcs(ctypes.Structure):  # noqa: D101
    _fields_ = [("point", ctypes.c_uint), ("ip", ctypes.c_char * 22)]


class ContinuumStruct(ctypes.Structure):  # noqa: D101
    _fields_ = [
        ("numpoints", ctypes.c_int),
        ("modtime", ctypes.POINTER(ctypes.c_long)),
        ("array", ctypes.POINTER(Mcs)),
    ]


Ring = ctypes.POINTER(ContinuumStruct)


def main() -> None:
    """Roll the file, print the ring and the keys' servers, and smoke it."""
    lib = ctypes.CDLL("libketama.so.1")
    lib.ketama_roll.argtypes = [ctypes.POINTER(Ring), ctypes.c_char_p]
    lib.ketama_get_server.restype = ctypes.POINTER(Mcs)
    lib.ketama_get_server.argtypes = [ctypes.c_char_p, Ring]
    lib.ketama_hashi.restype = ctypes.c_uint
    lib.ketama_error.restype = ctypes.c_char_p
    lib.ketama_compare.argtypes = [ctypes.POINTER(Mcs), ctypes.POINTER(Mcs)]

    ring = Ring()
    if not lib.ketama_roll(ctypes.byref(ring), sys.argv[1].encode()):
        print(lib.ketama_error().decode())
        lib.ketama_print_continuum(ring)  # of an empty one, nothing but the number
        print("found" if lib.ketama_get_server(b"key", ring) else "nothing")
        lib.ketama_smoke(ring)
        sys.exit(1)
    lib.ketama_print_continuum(ring)
    ctypes.CDLL(None).fflush(None)
    print(ring.contents.numpoints, ring.contents.modtime[0], repr(lib.ketama_error().decode()))
    for number in range(ring.contents.numpoints):
        point = ring.contents.array[number]
        print(point.point, point.ip.decode(), sep="\t")
    for key in sys.argv[2:]:
        found = lib.ketama_get_server(key.encode(), ring).contents
        print(lib.ketama_hashi(key.encode()), found.point, found.ip.decode(), sep="\t")
    digest = (ctypes.c_ubyte * 16)()
    lib.ketama_md5_digest(b"test", digest)
    print(bytes(digest).hex())
    first, last = ring.contents.array[0], ring.contents.array[ring.contents.numpoints - 1]
    print(*[lib.ketama_compare(a, b) for a in (first, last) for b in (first, last)])
    lib.ketama_smoke(ring)


if __name__ == "__main__":
    main()
