"""One step of a model as it is trained and run in practice: precision, optimizer, compilation, and what is found out of it."""
