"""The pruners for Optuna; `from curvestop import FHyperbandPruner, SRMPruner` gives the same classes."""

from curvestop.clients.optuna.fhyperband_pruner import FHyperbandPruner
from curvestop.clients.optuna.srm_pruner import SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner"]
