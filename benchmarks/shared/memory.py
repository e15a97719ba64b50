"""What a process, or a GPU for it, holds, and the most that it held.

Of a process it is Linux's VmHWM: `ru_maxrss` of a child begins with what its parent held when it was started.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any


def reset_peak(device: Any = None) -> int:
    """Forget the highest memory so far, where the system can; the memory held now, in bytes."""
    if _on_gpu(device):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")
    return memory(device)


def memory(device: Any = None) -> int:
    """What the process, or the GPU for it, holds now, in bytes; the highest so far where the system tells no more."""
    if _on_gpu(device):
        import torch

        return torch.cuda.memory_allocated(device)
    return _of_status("VmRSS")


def peak(device: Any = None) -> int:
    """The most that was held since `reset_peak`, in bytes."""
    if _on_gpu(device):
        import torch

        return torch.cuda.max_memory_allocated(device)
    return _of_status("VmHWM")


def _on_gpu(device: Any) -> bool:
    return device is not None and device.type == "cuda"


def _of_status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
