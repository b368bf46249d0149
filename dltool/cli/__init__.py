"""The command line: one thin file per command. Parse, call, render, exit."""

import gc

gc.disable()  # a command of a tenth of a second makes no garbage worth the search; bench turns it on again
