"""What an error text means: a text goes in, rows of `catalog/errors.csv` and of the Xid tables come out.

Pure, and made for logs of any size: the text is read in pieces, each is searched for the literal words of all patterns, and
only lines that hold such words meet a regular expression. Colours, carriage returns, repeated blanks, NUL bytes (UTF-16) and
bytes that are no UTF-8 do no harm; a line without end is looked at in overlapping stretches.

Of several rows that fit one place in a line the first in the table counts: it is the more specific one.

rows.py    the table, and which literal words a match of each pattern must hold
xid.py     lines with a number: Xid of the driver, SXid of the NVSwitch
scan.py    the search
"""

from dltool.known_errors.rows import KnownError, known, words_of
from dltool.known_errors.scan import Reading, by_name, read, recognise

__all__ = ["KnownError", "Reading", "by_name", "known", "read", "recognise", "words_of"]
