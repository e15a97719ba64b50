"""Counted randomness: every random number is a function of (seed, epoch, index), not of what ran before.

An image's view therefore does not depend on workers, on the order of arrival, on its batch mates or on a
resume, and is the same on every device. The hash is splitmix64's finaliser (Steele, Lea and Flood, «Fast
Splittable Pseudorandom Number Generators», OOPSLA 2014; constants: Stafford's variant 13), in 64-bit integers
that wrap.
"""

import math
import zlib
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = TypeVar("Ints", int, NDArray[np.int64], Tensor)


def view_key(seed: int, epoch: int, index: Ints) -> Ints:
    """The key of image `index` in an epoch, in [0, 2^63): an int, or int64 for an int64 array or tensor."""
    stream = _mix(_mix(seed & _MASK) + epoch & _MASK)
    if isinstance(index, np.ndarray):
        return (_mix(index.astype(np.uint64) + np.uint64(stream)) >> np.uint64(1)).astype(np.int64)
    if isinstance(index, Tensor):
        return _shift_right(_mix_tensor(index + _signed(stream)), 1)
    return _mix(stream + index & _MASK) >> 1


def derive(keys: Tensor, name: str) -> Tensor:
    """Keys for one of several independent users of `keys`, told apart by name: int64 (B,) → int64 (B,)."""
    return _mix_tensor(keys ^ _signed(_mix(zlib.crc32(name.encode()) + _SALT)))


def uniform(keys: Tensor, n: int, salt: int = 0) -> Tensor:
    """n uniform numbers in [0, 1) for each key: int64 (B,) → float32 (B, n), bit-equal on every device.

    salt: any int; tells independent draws from one key apart. Each number has 24 random bits.
    """
    counters = torch.arange(n, device=keys.device) + _signed(_mix(salt + _SALT & _MASK))
    bits = _mix_tensor(_mix_tensor(keys)[:, None] ^ _mix_tensor(counters))
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def normal(keys: Tensor, n: int, salt: int = 0) -> Tensor:
    """n standard normal numbers for each key: int64 (B,) → float32 (B, n), by Box and Muller (1958)."""
    radius, angle = uniform(keys, 2 * (-(-n // 2)), salt).chunk(2, dim=1)
    radius = (-2 * torch.log1p(-radius)).sqrt()
    angle = 2 * math.pi * angle
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :n]


def numpy_generator(key: int, salt: int = 0) -> np.random.Generator:
    """A numpy generator for one image, where uniform numbers do not suffice (see `reseed`)."""
    generator = np.random.Generator(np.random.PCG64(0))
    reseed(generator, key, salt)
    return generator


def reseed(generator: np.random.Generator, key: int, salt: int = 0) -> None:
    """Start a PCG64 generator's numbers for a key, in place: ten times cheaper than a new generator."""
    high = _mix(_mix(key & _MASK) ^ _mix(salt + _SALT & _MASK))
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | _mix(high), "inc": _PCG_INCREMENT},
        "has_uint32": 0,
        "uinteger": 0,
    }


_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio
_FACTOR_1, _FACTOR_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SALT = 0xD1B54A32D192ED03  # so that salts and indices, both small numbers, are not hashed alike
_PCG_INCREMENT = 0xDA3E39CB94B95BDB_5851F42D4C957F2D  # any odd number


def _mix(x: Any) -> Any:
    """One step of splitmix64, a bijection of the 64-bit integers, for ints and uint64 arrays.

    Arrays wrap by themselves, ints by the mask.
    """
    x = x + _GOLDEN & _MASK
    x = (x ^ (x >> 30)) * _FACTOR_1 & _MASK
    x = (x ^ (x >> 27)) * _FACTOR_2 & _MASK
    return x ^ (x >> 31)


def _mix_tensor(x: Tensor) -> Tensor:
    """`_mix` in int64, whose sums and products wrap to the same 64 bits."""
    x = x + _signed(_GOLDEN)
    x = (x ^ _shift_right(x, 30)) * _signed(_FACTOR_1)
    x = (x ^ _shift_right(x, 27)) * _signed(_FACTOR_2)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own fills with the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The int64 with the same 64 bits."""
    return value - 2**64 if value >= 2**63 else value
