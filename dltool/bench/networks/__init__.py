"""A step of a model: precision, optimizer, how it is made, what it does."""
