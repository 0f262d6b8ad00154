"""XXH3 of 64 bits, after the specification of xxHash 0.8, in plain Python."""

from __future__ import annotations

MASK = 0xFFFFFFFFFFFFFFFF
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
PRIME_MX1, PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
STRIPE, LANES = 64, 8

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def folded(a: int, b: int) -> int:
    """Return the two halves of a product of 128 bits, one xor the other."""
    product = a * b
    return product & MASK ^ product >> 64


def avalanche(h: int) -> int:
    h = (h ^ h >> 37) * PRIME_MX1 & MASK
    return h ^ h >> 32


def avalanche_xxh64(h: int) -> int:
    h = (h ^ h >> 33) * P64_2 & MASK
    h = (h ^ h >> 29) * P64_3 & MASK
    return h ^ h >> 32


def up_to_3(data: bytes, seed: int) -> int:
    size = len(data)
    mixed = data[-1] | size << 8 | data[0] << 16 | data[size // 2] << 24
    return avalanche_xxh64(mixed ^ (u32(SECRET, 0) ^ u32(SECRET, 4)) + seed & MASK)


def up_to_8(data: bytes, seed: int) -> int:
    size = len(data)
    seed ^= int.from_bytes((seed & 0xFFFFFFFF).to_bytes(4, "little"), "big") << 32
    both = u32(data, size - 4) | u32(data, 0) << 32
    h = both ^ (u64(SECRET, 8) ^ u64(SECRET, 16)) - seed & MASK
    h ^= (h << 49 | h >> 15) & MASK ^ (h << 24 | h >> 40) & MASK
    h = h * PRIME_MX2 & MASK
    h = (h ^ (h >> 35) + size) * PRIME_MX2 & MASK
    return h ^ h >> 28


def up_to_16(data: bytes, seed: int) -> int:
    size = len(data)
    low = u64(data, 0) ^ (u64(SECRET, 24) ^ u64(SECRET, 32)) + seed & MASK
    high = u64(data, size - 8) ^ (u64(SECRET, 40) ^ u64(SECRET, 48)) - seed & MASK
    swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
    return avalanche(size + swapped + high + folded(low, high) & MASK)


def mixed_16(data: bytes, at: int, secret_at: int, seed: int) -> int:
    return folded(
        u64(data, at) ^ u64(SECRET, secret_at) + seed & MASK,
        u64(data, at + 8) ^ u64(SECRET, secret_at + 8) - seed & MASK,
    )


def up_to_128(data: bytes, seed: int) -> int:
    size = len(data)
    h = size * P64_1
    for i in range((size - 1) // 32 + 1):
        h += mixed_16(data, 16 * i, 32 * i, seed)
        h += mixed_16(data, size - 16 * (i + 1), 32 * i + 16, seed)
    return avalanche(h & MASK)


def up_to_240(data: bytes, seed: int) -> int:
    size = len(data)
    h = size * P64_1
    for i in range(8):
        h += mixed_16(data, 16 * i, 16 * i, seed)
    h = avalanche(h & MASK)
    for i in range(8, size // 16):
        h += mixed_16(data, 16 * i, 16 * (i - 8) + 3, seed)
    return avalanche(h + mixed_16(data, size - 16, 136 - 17, seed) & MASK)


def seeded(seed: int) -> bytes:
    """Return the secret that a seed makes of the default one."""
    return b"".join(
        (u64(SECRET, at) + (seed if at % 16 == 0 else -seed) & MASK).to_bytes(8, "little")
        for at in range(0, len(SECRET), 8)
    )


def accumulate(lanes: list[int], data: bytes, at: int, secret: bytes, secret_at: int) -> None:
    for i in range(LANES):
        value = u64(data, at + 8 * i)
        keyed = value ^ u64(secret, secret_at + 8 * i)
        lanes[i ^ 1] = lanes[i ^ 1] + value & MASK
        lanes[i] = lanes[i] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & MASK


def scramble(lanes: list[int], secret: bytes) -> None:
    for i in range(LANES):
        lane = lanes[i] ^ lanes[i] >> 47 ^ u64(secret, len(secret) - STRIPE + 8 * i)
        lanes[i] = lane * P32_1 & MASK


def above_240(data: bytes, seed: int) -> int:
    secret = seeded(seed)
    lanes = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    per_block = (len(secret) - STRIPE) // 8
    for stripe in range((len(data) - 1) // STRIPE):
        accumulate(lanes, data, STRIPE * stripe, secret, stripe % per_block * 8)
        if stripe % per_block == per_block - 1:
            scramble(lanes, secret)
    accumulate(lanes, data, len(data) - STRIPE, secret, len(secret) - STRIPE - 7)
    h = len(data) * P64_1
    for i in range(0, LANES, 2):
        h += folded(lanes[i] ^ u64(secret, 11 + 8 * i), lanes[i + 1] ^ u64(secret, 19 + 8 * i))
    return avalanche(h & MASK)


def xxh3_64(data: bytes, seed: int = 0) -> int:
    if not data:
        return avalanche_xxh64(seed ^ u64(SECRET, 56) ^ u64(SECRET, 64))
    for most, function in (
        (3, up_to_3),
        (8, up_to_8),
        (16, up_to_16),
        (128, up_to_128),
        (240, up_to_240),
    ):
        if len(data) <= most:
            return function(data, seed)
    return above_240(data, seed)
