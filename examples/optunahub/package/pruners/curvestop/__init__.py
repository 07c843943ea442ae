"""curvestop's pruners as an OptunaHub package: `optunahub.load_module("pruners/curvestop").SRMPruner`."""

from curvestop.hyperband.pruner import FHyperbandPruner, SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner"]
