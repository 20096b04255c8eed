"""One training at a time on a device: a lock of the kernel, in the folder of the trainings."""

import os
import re
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")  # of the machine: all its containers have the same


def lock_file(trainings: Path) -> Path:
    """What a training on this device has to lock; the GPUs that a process may see are one device, and so is a CPU."""
    machine = _BOOT.read_text().strip() if _BOOT.exists() else socket.gethostname()
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", os.environ.get("NVIDIA_VISIBLE_DEVICES", "all"))
    return trainings / f".device-{machine}-{re.sub('[^A-Za-z0-9,-]', '_', seen) or 'none'}.lock"
