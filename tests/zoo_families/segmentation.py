from zoo_small import Small

_DILATED = Small({"num_classes": 3, "layers": (1, 1, 1, 1)}, input="float:N,3,64,64")
SMALL = {
    "fcn_resnet50": _DILATED,
    "deeplabv3_resnet50": _DILATED,
    "deeplabv3_resnet101": _DILATED,
    "segnet": Small({"width": 8}, input="float:N,3,72,96"),
    "deconvnet": Small({"num_classes": 3, "width": 4, "hidden": 32}),
    "unet": Small({"width": 8}, input="float:N,1,204,204"),
    "unet_padded": Small({"width": 8}, input="float:N,3,64,95"),
    "vnet": Small({"width": 4}, input="float:N,1,32,32,32"),
    "letnet": Small({"classes": 3, "block_2": 2, "block_3": 2}, input="float:N,3,64,96"),
}
