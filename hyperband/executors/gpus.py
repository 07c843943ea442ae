"""Which GPUs this machine has, told without any framework."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

ASK = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
ASK_TIMEOUT_S = 20.0


def visible_gpus(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Names of GPUs as CUDA_VISIBLE_DEVICES takes them: those it lists, or else all that nvidia-smi knows; none is ()."""
    named = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return _installed()
    names = [name.strip() for name in named.split(",")]
    hidden = next((i for i, name in enumerate(names) if name in ("", "-1", "NoDevFiles")), len(names))
    return tuple(names[:hidden])  # CUDA, too, ignores what comes after one that is not there


def _installed() -> tuple[str, ...]:
    try:
        answer = subprocess.run(ASK, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()  # no driver, or one that does not answer: there is nothing to hand out
    return tuple(line.strip() for line in answer.splitlines() if line.startswith(("GPU-", "MIG-")))
