"""The search for the shape at which a device multiplies matrices fastest, within a time budget.

space        which shapes there are, and which cannot be the best (pure)
strategy     which to time next, for how long, and when to stop (pure: the trier is an argument)
confirmation which of the best it is, by samples taken in turn (pure)
journal      every trial on disk as it happens, and back again after a kill
trier        the one place that touches a device
"""
