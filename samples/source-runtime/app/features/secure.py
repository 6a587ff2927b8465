"""TLS, and a function of the C library."""

import ctypes
import ssl


def answer(_query):
    context = ssl.create_default_context()
    return {"authorities": len(context.get_ca_certs()) > 50, "absolute": ctypes.CDLL("libc.so.6").abs(-42)}
