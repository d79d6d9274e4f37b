"""The speed of training on a CPU, and the memory that a job takes."""

import ctypes
import gc
import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def keep_memory() -> None:
    """Keep freed memory in the process instead of giving it back to the kernel.

    By default glibc returns each large activation and gets it again, page fault by page fault: more than half the time
    of a step here. The limit of 1 GiB a block keeps what one step needs for the next.
    """
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        except (OSError, AttributeError):
            pass  # another C library: slower, otherwise the same


def set_threads(threads: int, *, spare: int = 0) -> None:
    """`threads`, or for 0 all cores but `spare`, which are left to the processes that load images.

    A thread that shares its core holds up all others at the barriers inside oneDNN's backward convolutions. The number
    must not follow the number of workers: sums in another order are other numbers.
    """
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) - spare))


def forget_peak() -> None:
    """From here on `peak_bytes` counts anew, less what earlier jobs have freed; on Linux alone."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what keep_memory kept
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most memory that this process has held (not its loaders', nor a GPU's)."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
