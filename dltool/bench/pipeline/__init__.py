"""The input pipeline of a training: from files to batches on the device, whole and in its stages.

images.py         JPEG files as large as photographs, made of noise
folder.py         the images of a folder, those that cannot be read told apart
decoding.py       a file's bytes into a tensor of a fixed size
labels.py         what an image shows: classes with their weights
augmentations.py  which there are, in which order they run; geometry.py, colour.py, mixing.py: what they do
dataset.py        images by their place in an endless order, and batches of them
loader.py         a DataLoader, and what its failures mean
feeding.py        batches on the device, copied while the step before computes
stages.py         each stage as a step of its own
training.py       a step of a model, and a step with its data
checks.py         whether batches and steps are right
figures.py        samples as the figures of a step
choice.py         which parts a run measures
verdict.py        which side starves, and how many workers suffice (pure)
"""
