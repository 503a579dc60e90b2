"""Sizes as people write them."""

from __future__ import annotations

from pydantic import ByteSize, TypeAdapter, ValidationError

_SIZE = TypeAdapter(ByteSize)


def parse_size(text: str) -> int:
    """Bytes, by pydantic's rules: GB and G are 10^9, GiB is 2^30, a bare number is bytes.

    Raises:
        ValueError: it is no size.
    """
    try:
        return int(_SIZE.validate_python(text))
    except ValidationError:
        raise ValueError(
            "not a size: write a number and a unit, such as 8GiB (8 * 2^30) or 8GB (8 * 10^9)"
        ) from None
