"""Digests and packing."""

import bz2
import hashlib
import lzma
import zlib


def answer():
    text = b"abc" * 100
    packed = [module.decompress(module.compress(text)) == text for module in (bz2, lzma, zlib)]
    return {"sha256": hashlib.sha256(b"abc").hexdigest(), "packed": all(packed)}
