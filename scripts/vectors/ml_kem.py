# SPDX-License-Identifier: Apache-2.0
"""ML-KEM-768 as FIPS 203 writes it down, with the randomness as an argument: so that a vector is the same each time.

For vectors and as a second opinion only: slow, and it takes no care of what its timing tells.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

Q: Final = 3329
N: Final = 256
K: Final = 3
ETA: Final = 2  # eta_1 and eta_2 alike
DU, DV = 10, 4

Polynomial: TypeAlias = list[int]


def _bit_reversed(number: int) -> int:
    return int(f"{number:07b}"[::-1], 2)


ZETAS: Final = [pow(17, _bit_reversed(i), Q) for i in range(128)]  # appendix A
GAMMAS: Final = [pow(17, 2 * _bit_reversed(i) + 1, Q) for i in range(128)]


def public_key(seed: bytes) -> bytes:
    """Return the encapsulation key of a seed d ‖ z (algorithms 13 and 16)."""
    rho, sigma = _g(seed[:32] + bytes([K]))
    s = [_ntt(_cbd(_prf(sigma, i))) for i in range(K)]
    e = [_ntt(_cbd(_prf(sigma, K + i))) for i in range(K)]
    matrix = _matrix(rho)
    t = [_add(_dot(matrix[i], s), e[i]) for i in range(K)]
    return b"".join(_pack(each, 12) for each in t) + rho


def encapsulate(public: bytes, m: bytes) -> tuple[bytes, bytes]:
    """Return (shared secret, ciphertext) for a message m of 32 bytes, which is what has to be random (algorithm 17)."""
    shared, coins = _g(m + hashlib.sha3_256(public).digest())
    return shared, _encrypt(public, m, coins)


def _encrypt(public: bytes, m: bytes, coins: bytes) -> bytes:
    """Algorithm 14."""
    t = [_unpack(public[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    matrix = _matrix(public[384 * K :])
    y = [_ntt(_cbd(_prf(coins, i))) for i in range(K)]
    e1 = [_cbd(_prf(coins, K + i)) for i in range(K)]
    e2 = _cbd(_prf(coins, 2 * K))
    columns = [[matrix[j][i] for j in range(K)] for i in range(K)]
    u = [_add(_inverse_ntt(_dot(columns[i], y)), e1[i]) for i in range(K)]
    mu = [(bit * Q + 1) // 2 for bit in _unpack(m, 1)]
    v = _add(_add(_inverse_ntt(_dot(t, y)), e2), mu)
    return b"".join(_pack(_compress(each, DU), DU) for each in u) + _pack(_compress(v, DV), DV)


# what it is made of --------------------------------------------------------------------------------------------------
def _g(data: bytes) -> tuple[bytes, bytes]:
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def _prf(key: bytes, index: int) -> bytes:
    return hashlib.shake_256(key + bytes([index])).digest(64 * ETA)


def _matrix(rho: bytes) -> list[list[Polynomial]]:
    return [[_sampled(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def _sampled(seed: bytes) -> Polynomial:
    """Algorithm 7; 1 026 bytes of SHAKE128 give 256 coefficients but for a chance of 2^-100 or so."""
    stream, found = hashlib.shake_128(seed).digest(1_026), []
    for a, b, c in zip(stream[0::3], stream[1::3], stream[2::3], strict=False):
        found += [d for d in (a + 256 * (b % 16), b // 16 + 16 * c) if d < Q]
    if len(found) < N:
        raise LookupError("an unlikely seed")
    return found[:N]


def _cbd(data: bytes) -> Polynomial:
    """Algorithm 8."""
    bits = _unpack(data, 1)
    at = 2 * ETA
    return [(sum(bits[at * i : at * i + ETA]) - sum(bits[at * i + ETA : at * (i + 1)])) % Q for i in range(N)]


def _ntt(f: Polynomial) -> Polynomial:
    """Algorithm 9."""
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def _inverse_ntt(f: Polynomial) -> Polynomial:
    """Algorithm 10."""
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [each * 3303 % Q for each in f]


def _dot(row: list[Polynomial], column: list[Polynomial]) -> Polynomial:
    total = [0] * N
    for f, g in zip(row, column, strict=True):
        total = _add(total, _product(f, g))
    return total


def _product(f: Polynomial, g: Polynomial) -> Polynomial:
    """Algorithms 11 and 12."""
    out = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return out


def _add(f: Polynomial, g: Polynomial) -> Polynomial:
    return [(a + b) % Q for a, b in zip(f, g, strict=True)]


def _compress(f: Polynomial, bits: int) -> Polynomial:
    """Section 4.2.1, equation 4.7: rounded to the nearest, halves up."""
    return [(2 * (each << bits) + Q) // (2 * Q) % (1 << bits) for each in f]


def _pack(f: Polynomial, bits: int) -> bytes:
    """Algorithm 5."""
    number = sum(each << bits * i for i, each in enumerate(f))
    return number.to_bytes(len(f) * bits // 8, "little")


def _unpack(data: bytes, bits: int) -> Polynomial:
    """Algorithm 6."""
    number, mask = int.from_bytes(data, "little"), (1 << bits) - 1
    return [number >> bits * i & mask for i in range(len(data) * 8 // bits)]
