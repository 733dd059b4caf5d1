"""The commands, one module each. `hyper_py.cli` registers them; each imports what is heavy when it runs.

Beside the commands: `arguments` has what several of them take, `terminal` prints, and `progress` shows the
events of a run.
"""
