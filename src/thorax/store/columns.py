"""Hashes of the columns of a sample table, with which a store knows that its source or table has changed."""

import hashlib

import numpy as np
import pandas as pd

__all__ = ["column_bytes", "column_sha256"]


def column_sha256(column: pd.Series) -> str:
    """Return the SHA-256 of a column, equal for equal ones on every machine and with every pandas."""
    return hashlib.sha256(column_bytes(column)).hexdigest()


def column_bytes(column: pd.Series) -> bytes:
    """Return bytes that are equal for equal columns, on every machine and with every version of pandas."""
    if isinstance(column.dtype, pd.Int8Dtype | pd.Int16Dtype):
        # The lowest int32 stands for null; it is not a label, age or follow-up number.
        return column.to_numpy(dtype="<i4", na_value=np.iinfo(np.int32).min).tobytes()
    return "\0".join(_text(value) for value in column).encode()


def _text(value: object) -> str:
    if isinstance(value, tuple):  # boxes: not by repr, which depends on the vocabulary's wording
        return ";".join(f"{finding.name},{box.x},{box.y},{box.width},{box.height}" for finding, box in value)
    return str(value)
