from zoo_small import Small

_DILATED = Small({"num_classes": 3, "layers": (1, 1, 1, 1)}, input="float:N,3,32,32")
SMALL = {
    "fcn_resnet50": _DILATED,
    "deeplabv3_resnet50": _DILATED,
    "deeplabv3_resnet101": _DILATED,
    "segnet": Small({"num_classes": 3, "width": 8}, input="float:N,3,36,48", rate=1e-2),
    # learns too slowly for a test: its bottom is one pixel, where the norm over two images leaves but 1 and -1
    "deconvnet": Small({"num_classes": 3, "width": 4, "hidden": 32}, overfits=0),
    "unet": Small({"width": 8}, input="float:N,1,204,204"),
    "unet_padded": Small({"width": 8}, input="float:N,3,64,95"),
    "vnet": Small(
        {"width": 8},
        input="float:N,1,16,16,16",
        rate=1e-2,
        bf16="oneDNN's weight gradient of a 5x5x5 convolution over few voxels reads memory that nobody wrote: NaN now and then",
    ),
    "letnet": Small({"classes": 3, **{f"block_{stage}": 1 for stage in range(1, 7)}}, input="float:N,3,32,48"),
}
