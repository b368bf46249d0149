"""The user's own shapes: read from a file or recorded from a model, measured, and compared with the ceiling.

own      what one product of the user's is (no more than data)
files    shapes from a file: CSV, JSON or lines of text
model    those of a torch module, recorded in a child process, because a user's code is imported for it
verdict  ceiling, shares, time lost, padding (pure)
measure  the one place that touches a device
"""
