"""The speed of training on a CPU."""

import ctypes
import sys

import torch

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def tune_cpu(threads: int) -> None:
    """Keep freed memory in the process, and set torch's thread count (0 leaves it).

    By default glibc gives each large activation back to the kernel and gets it again, page fault by page fault: more
    than half the time of a step here. The limit of 1 GiB a block keeps what one step needs for the next.
    """
    if threads:
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        except (OSError, AttributeError):
            pass  # another C library: slower, otherwise the same
