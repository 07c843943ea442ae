"""curvestop's pruners as an OptunaHub package: `optunahub.load_module("pruners/curvestop").SRMPruner`."""

from curvestop.clients.optuna import FHyperbandPruner, SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner"]
