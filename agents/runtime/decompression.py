"""What a compressed batch may become: at most `BATCH_MAX_BYTES`, or it is refused before the memory is taken.

aiokafka unpacks a batch into whatever it becomes, and a megabyte of gzip can become a gigabyte. Its parsers look their
decoders up by name in their own modules, so `bound` puts bounded ones there, for the whole process.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import cramjam
from aiokafka.codec import _detect_xerial_stream, snappy_decode
from aiokafka.record import default_records as plain_default
from aiokafka.record import legacy_records as plain_legacy
from aiokafka.record._crecords import default_records, legacy_records

# Far above what clients send: they close a batch at some kilobytes before it is compressed, at 1 MiB after it.
BATCH_MAX_BYTES: Final = 32 * 1024 * 1024

_GZIP: Final = 31  # zlib's word for gzip with the largest window
_XERIAL_HEADER_BYTES: Final = 16


class TooLargeError(Exception):
    """A batch becomes larger than the bound."""

    def __init__(self) -> None:
        super().__init__(f"it becomes more than {BATCH_MAX_BYTES // 1024 // 1024} MiB when it is unpacked")


class Meter:
    """Counts the bytes that were unpacked; only one thread unpacks."""

    unpacked_bytes = 0


METER: Final = Meter()


def gzip_decode(payload: Any) -> bytes:
    """Unpack gzip, also of several members."""
    unpacked = bytearray()
    rest = bytes(payload)
    while rest:
        member = zlib.decompressobj(_GZIP)
        unpacked += member.decompress(rest, BATCH_MAX_BYTES + 1 - len(unpacked))
        if len(unpacked) > BATCH_MAX_BYTES:
            raise TooLargeError
        if not member.eof:
            raise EOFError("the gzip stream is cut off")
        rest = member.unused_data.lstrip(b"\0")  # padding is allowed
    return _metered(bytes(unpacked))


def lz4_decode(payload: Any) -> bytes:
    """Unpack an LZ4 frame."""
    return _unpacked_into(cramjam.lz4, payload)


def zstd_decode(payload: Any) -> bytes:
    """Unpack Zstandard frames."""
    return _unpacked_into(cramjam.zstd, payload)


def bounded_snappy_decode(payload: Any) -> bytes:
    """Unpack Snappy, which tells its size before, raw or in the blocks of Java's library."""
    if sum(map(cramjam.snappy.decompress_raw_len, _snappy_blocks(bytes(payload)))) > BATCH_MAX_BYTES:
        raise TooLargeError
    return _metered(snappy_decode(payload))


def bound() -> None:
    """Put the bounded decoders into aiokafka's parsers, compiled and plain."""
    for module in (default_records, plain_default, legacy_records, plain_legacy):
        for name, decoder in _DECODERS.items():
            if hasattr(module, name):
                setattr(module, name, decoder)


_DECODERS: Final = {
    "gzip_decode": gzip_decode,
    "lz4_decode": lz4_decode,
    "snappy_decode": bounded_snappy_decode,
    "zstd_decode": zstd_decode,
}


def _unpacked_into(codec: Any, payload: Any) -> bytes:
    room = bytearray(BATCH_MAX_BYTES + 1)  # pages that are never written to are never taken
    try:
        size: int = codec.decompress_into(bytes(payload), room)
    except cramjam.DecompressionError as error:
        if "failed to write whole buffer" in str(error):
            raise TooLargeError from None
        raise
    if size > BATCH_MAX_BYTES:
        raise TooLargeError
    return _metered(bytes(memoryview(room)[:size]))


def _snappy_blocks(payload: bytes) -> list[bytes]:
    if not _detect_xerial_stream(payload):
        return [payload]
    blocks = []
    start = _XERIAL_HEADER_BYTES
    while start < len(payload):
        size = int.from_bytes(payload[start : start + 4], "big", signed=True)
        if size <= 0:
            raise ValueError(f"a Snappy block of {size} bytes")
        blocks.append(payload[start + 4 : start + 4 + size])
        start += 4 + size
    return blocks


def _metered(unpacked: bytes) -> bytes:
    METER.unpacked_bytes += len(unpacked)
    return unpacked
