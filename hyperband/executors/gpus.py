"""Lists the GPUs of this machine without a deep-learning framework."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

LIST_GPUS = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
"""Command that prints the UUID of every installed GPU, one a line."""

LIST_TIMEOUT_S = 20.0


def visible_gpus(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """List the GPUs that a process may use.

    Args:
        environment: Where to look up CUDA_VISIBLE_DEVICES. Default: this process's environment.

    Returns:
        Names in the form CUDA_VISIBLE_DEVICES takes: those that the variable lists, or all that nvidia-smi reports if it is
        unset; empty without a GPU.

    Examples:
        >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "0, 2"})
        ('0', '2')
        >>> visible_gpus({"CUDA_VISIBLE_DEVICES": ""})
        ()
    """
    listed = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return _installed_gpus()
    names = [name.strip() for name in listed.split(",")]
    # CUDA, too, ignores everything from the first invalid entry on.
    n_valid = next((i for i, name in enumerate(names) if name in ("", "-1", "NoDevFiles")), len(names))
    return tuple(names[:n_valid])


def _installed_gpus() -> tuple[str, ...]:
    try:
        listing = subprocess.run(LIST_GPUS, capture_output=True, text=True, timeout=LIST_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()  # no driver, or a driver that does not answer: there is no GPU to use
    return tuple(line.strip() for line in listing.splitlines() if line.startswith(("GPU-", "MIG-")))
