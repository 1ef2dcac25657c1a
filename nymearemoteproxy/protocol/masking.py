"""Unmasking of WebSocket payload (RFC 6455 section 5.3), by the fastest means that is installed.

Owns the choice between implementations. Knows nothing of frames.
"""

from __future__ import annotations

from collections.abc import Callable

Unmask = Callable[[bytes | memoryview, bytes], bytes]
"""(payload, four bytes of mask) → payload; masking and unmasking are the same operation."""


def unmaskWithIntegers(payload: bytes | memoryview, mask: bytes) -> bytes:
    """XOR as one large integer: no dependency, 0.7 µs for 256 bytes, 87 µs for 64 KiB."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    value = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return value.to_bytes(size, "little")


def implementations() -> dict[str, Unmask]:
    """What is installed, fastest first.

    `websockets` has the fastest (0.07 µs and 1.2 µs), but Debian 12 packages it without its C
    part; there `wsaccel` stands in (0.4 µs and 30 µs).
    """
    found: dict[str, Unmask] = {}
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        pass
    else:
        found["websockets"] = apply_mask
    try:
        from wsaccel.xormask import XorMaskerSimple
    except ImportError:
        pass
    else:
        found["wsaccel"] = lambda payload, mask: XorMaskerSimple(mask).process(bytes(payload))
    found["integers"] = unmaskWithIntegers
    return found


unmask: Unmask = next(iter(implementations().values()))
