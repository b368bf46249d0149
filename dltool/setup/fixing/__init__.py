"""Mending a Python environment by the remedies of findings: what would be done (pure), the record of what was, the doing.

shapes    one line of a remedy: a call of pip that can be run here, or why it is for people
plan      findings and their remedies -> steps in order, and what is left
record    on disk before the first step: what was installed, which steps are done, the way back
doing     the steps, one by one, with the machinery of `setup create`
"""
