"""Digests and packing, by compiled modules."""

import bz2
import hashlib
import lzma
import zlib


def answer(query):
    text = query.get("text", "abc").encode()
    packed = all(module.decompress(module.compress(text)) == text for module in (bz2, lzma, zlib))
    return {"sha256": hashlib.sha256(text).hexdigest(), "packed": packed}
