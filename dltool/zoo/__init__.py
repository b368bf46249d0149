"""What is done with the models of the zoo: found by name, built, fed, trained a step, counted, weighed.

entries.py     rows of catalog/models.csv
building.py    a model from its name, options and weights
inputs.py      tensors from a description such as `float:N,3,224,224`
diffusion.py   noise added to images, and images made out of noise
tasks/         what a training step of each task is: targets and loss
subject.py     a model to be looked at: made anew for any device, dtype and batch
products.py    what a torch operation multiplies (pure); recorder.py: all products of a run; attention.py: in one piece on meta
flops.py       operations of forward and training step
storages.py    what memory a run holds; memory.py: of a step, by optimizer and precision; autocast.py: for meta tensors
fits.py        the largest batch on a board
layers.py      the layers of a model
listing.py     rows as results; describing.py: with what running the model tells
"""

from dltool.zoo.building import build
from dltool.zoo.entries import Entry, entries, entry

__all__ = ["Entry", "build", "entries", "entry"]
