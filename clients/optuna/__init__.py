"""The pruners for Optuna: `from curvestop.clients.optuna import FHyperbandPruner, SRMPruner`."""

from curvestop.clients.optuna.fhyperband_pruner import FHyperbandPruner
from curvestop.clients.optuna.srm_pruner import SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner"]
