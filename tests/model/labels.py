"""How many labels a server gets, from its weight, the sum of weights, and their number."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

Count = Callable[[int, int, int], int]


def float32(x: Fraction | int) -> Fraction:
    """Return a non-negative number rounded to single precision, half to even."""
    x = Fraction(x)
    if x == 0:
        return x
    exponent = x.numerator.bit_length() - x.denominator.bit_length() - 24
    while x >= Fraction(2) ** (exponent + 24):
        exponent += 1
    while x < Fraction(2) ** (exponent + 23):
        exponent -= 1
    return round(x / Fraction(2) ** exponent) * Fraction(2) ** exponent


def ratio_a(weight: int, total: int, servers: int) -> int:
    """Return libketama's number of labels: divided in single, multiplied in double."""
    part = float32(float32(weight) / float32(total))
    return int(float32(Fraction(float(part) * 40.0 * float(float32(servers)))))


def ratio_b(weight: int, total: int, servers: int) -> int:
    """Return libmemcached's: all in single precision."""
    part = float32(float32(weight) / float32(total))
    return int(float32(float32(float32(part * 160) / 4) * float32(servers)))


def ratio_c(weight: int, total: int, servers: int) -> int:
    return 40 * servers * weight // total


def ratio_d(weight: int, total: int, servers: int) -> int:
    return int(float(weight) / float(total) * 40.0 * float(servers))


def ratio_e(weight: int, total: int, servers: int) -> int:
    return int(float(weight) / float(total) * float(servers) * 40.0)


def ratio_f(weight: int, total: int, servers: int) -> int:
    return int(float(servers * 160 * weight) / float(total))


def flat(count: int) -> Count:
    return lambda weight, total, servers: count


def absolute(count: int) -> Count:
    return lambda weight, total, servers: count * weight
