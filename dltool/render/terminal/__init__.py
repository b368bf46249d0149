"""The parts of the text format. `rich` is used here and in the progress display only."""
