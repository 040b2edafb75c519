"""The wire format of protocol buffers, as far as checkpoints need it. https://protobuf.dev/programming-guides/encoding

A message is a row of fields. Each has a number and a wire type: a varint (7 bits a byte, the lowest first, the top bit
says that another byte follows), or a length and as many bytes, or 8 or 4 bytes.
"""
from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: (number, value), a whole number or the bytes themselves, uncopied.

    Raises ValueError where the message is not whole; no length is believed that goes beyond its end.
    """
    position = 0
    while position < len(data):
        key, position = varint(data, position)
        wire_type, size = key & 7, 0
        if wire_type == VARINT:
            value, position = varint(data, position)
            yield key >> 3, value
            continue
        if wire_type == BYTES:
            size, position = varint(data, position)
        elif wire_type in (FIXED64, FIXED32):
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if size > len(data) - position:
            raise ValueError(f"a field of {size} bytes where {len(data) - position} are left")
        yield key >> 3, data[position:position + size]
        position += size


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """The number that begins at `position`, unsigned, and where it ends."""
    value = 0
    for i, byte in enumerate(data[position:position + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, position + i + 1
    raise ValueError(f"a number at byte {position} that does not end")


def varints(data: memoryview) -> list[int]:
    """A packed row of numbers."""
    found, position = [], 0
    while position < len(data):
        value, position = varint(data, position)
        found.append(value)
    return found


def field(number: int, value: int | bytes) -> bytes:
    """One field of a message, a varint or bytes."""
    if isinstance(value, int):
        return encoded(number << 3 | VARINT) + encoded(value)
    return opening(number, len(value)) + value


def opening(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of a field."""
    return encoded(number << 3 | BYTES) + encoded(size)


def encoded(value: int) -> bytes:
    """A varint."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
