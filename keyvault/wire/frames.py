"""Frames: how a stream of bytes is cut into arrays, with a cap on every one of them."""

import struct
from collections.abc import Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]

MAX_FRAME = 8 * 1024 * 1024  # bytes, without the length in front
LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """A frame that is too large, or not an array."""


def pack(items: Sequence[Any]) -> bytes:
    """Return one frame. Raises `FrameError` above `MAX_FRAME`, `TypeError` for foreign types."""
    return _framed(msgpack.packb(items))


def pack_item(item: Any) -> bytes:
    """Encode one item for `join`. Raises `FrameError` and `TypeError` like `pack`."""
    data: bytes = msgpack.packb(item)
    _check(len(data) + 1)  # the shortest array header
    return data


def join(items: Sequence[bytes]) -> bytes:
    """Make one frame of items that are encoded already."""
    return _framed(msgpack.Packer().pack_array_header(len(items)) + b"".join(items))


class FrameReader:
    """Takes bytes as they come and gives whole arrays."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """Return every array that is complete now. Raises `FrameError`: the stream is lost then."""
        self._buffer += data
        arrays: list[list[Any]] = []
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer, start)
            _check(size)
            end = start + LENGTH.size + size
            if len(self._buffer) < end:
                break
            arrays.append(_array(bytes(self._buffer[start + LENGTH.size : end])))
            start = end
        del self._buffer[:start]
        return arrays


def _framed(data: bytes) -> bytes:
    _check(len(data))
    return LENGTH.pack(len(data)) + data


def _array(data: bytes) -> list[Any]:
    try:
        value = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise FrameError("a frame is not msgpack") from error
    if not isinstance(value, list):
        raise FrameError("a frame is not an array")
    return value


def _check(size: int) -> None:
    if size > MAX_FRAME:
        raise FrameError(f"a frame of {size} bytes is over the limit of {MAX_FRAME}")
