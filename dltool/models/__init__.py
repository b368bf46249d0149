"""The zoo: standard networks in plain torch, one file per family, each verified against the implementation everyone means.

    dltool.models.build("resnet50")                                     random weights
    dltool.models.build("resnet50", weights="resnet50-0676ba61.pth")    a public checkpoint
    dltool.models.build("llama_3_8b", device="meta")                    shapes alone

A family's file holds nothing but the networks: a class for each part that the paper names, shapes in comments, and one function
per model, called like the model. What is known of each (task, input, published figures, sources) is a row of
`catalog/models.csv`; what is done with them is in `dltool.zoo`.
"""

from dltool.zoo import Entry, build, entries, entry

__all__ = ["Entry", "build", "entries", "entry"]
