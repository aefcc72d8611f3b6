"""Keep freed memory in the process, for work that asks for the same sizes again and again.

By default the C library and Pillow give large blocks back to the system as soon as they are free, and the next
picture or activation of the same size pays for the pages anew: several milliseconds a sample of 2048x1024.
"""

from __future__ import annotations

import ctypes
import platform

from PIL import Image

# glibc, malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """From now on memory that this process frees stays with it; other C libraries than glibc are left as they are."""
    Image.core.set_blocks_max(16)  # of 16 MiB each, what PILLOW_BLOCKS_MAX does from outside
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            libc.mallopt(parameter, value)


def give_back() -> None:
    """Give the system what is free by now, as before its memory is asked for; it counts as taken otherwise."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
