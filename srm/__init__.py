"""The statistics: predict where a learning curve ends and decide whether to stop it. Imports no other folder.

`study.py` has the idea in one file. The public names are those of `curvestop`.
"""
