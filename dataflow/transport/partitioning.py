"""Which partition a key belongs to: the rule of Kafka's Java clients."""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_R = 24
_WORD = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit MurmurHash2 of ``data``, in [0, 2**32).

    Source: ``org.apache.kafka.common.utils.Utils.murmur2``, which returns the same bits signed.
    """
    length = len(data)
    hashed = (_SEED ^ length) & _WORD
    whole = length - length % 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _WORD
        k = (k ^ (k >> _R)) * _M & _WORD
        hashed = (hashed * _M & _WORD) ^ k
    if whole < length:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _M & _WORD
    hashed = (hashed ^ (hashed >> 13)) * _M & _WORD
    return hashed ^ (hashed >> 15)


def partition_for_key(key: bytes, partitions: int) -> int:
    """The partition of ``key`` in a topic of so many ``partitions``.

    Source: ``BuiltInPartitioner.partitionForKey`` (``toPositive(murmur2(key)) % numPartitions``).
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions
