"""The curvestop pruners as an OptunaHub package: `optunahub.load_module("pruners/curvestop").SRMPruner`."""

from curvestop import FHyperbandPruner, SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner"]
