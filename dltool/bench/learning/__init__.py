"""Does it learn? Models of the zoo trained on real data, and their loss held against that of fp32 on the CPU.

trials.py      what is trained: rows of catalog/learning.csv
lessons.py     data by name, ready to be trained on: packaged.py (what packages ship), folders.py (what a user has)
unpickling.py  pickles of arrays, read without running anything
ways.py        how a number format trains: autocast, loss scaling, switches
training.py    a course: steps, losses, scores, time
gradients.py   a step's gradients against those of fp32 on the CPU
metrics.py     scores, by torchmetrics
band.py        how far a loss may stray from that of fp32 (pure)
exam.py        what a child process does: the reference, or a course with its verdict
preload.py     what children need and takes seconds to import
rows.py        courses as measurements
"""
