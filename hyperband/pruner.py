"""The pruners for Optuna: `from curvestop.hyperband.pruner import FHyperbandPruner, SRMPruner`."""

from curvestop.hyperband.fhyperband_pruner import FHyperbandPruner
from curvestop.hyperband.srm_pruner import SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner"]
