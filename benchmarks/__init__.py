"""Ours beside the plain way, in one run. One module a part: SUMMARY, `add_arguments`, `measure`.

`measure` returns rows of name, ours, peer, ratio, unit, machine.
"""
