"""What is done with the models of the zoo: found by name, built, fed, trained a step, counted, weighed.

entries.py     rows of catalog/models.csv
building.py    a model from its name, options and weights
inputs.py      tensors from a description such as `float:N,3,224,224`
diffusion.py   noise added to images, and images made out of noise
tasks/         what a training step of each task is: targets and loss
"""

from dltool.zoo.building import build
from dltool.zoo.entries import Entry, entries, entry

__all__ = ["Entry", "build", "entries", "entry"]
