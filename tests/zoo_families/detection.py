from zoo_small import Small

_BOXES = "how many boxes there are hangs on the numbers in them: no graph of fixed shapes holds it"
_BODY = {"num_classes": 5, "layers": (1, 1, 1, 1), "min_size": 64, "max_size": 64, "channels": 32}
_FASTER = {**_BODY, "width": 64, "box_batch_size_per_image": 16}
# on maps of one place, oneDNN leaves the gradient of a bf16 convolution's unused weights unwritten
_RETINA = {**_BODY, "min_size": 160, "max_size": 160}

SMALL = {
    "vgg16": Small({"num_classes": 10, "width": 8, "hidden": 32, "dropout": 0.0}, "float:N,3,32,32"),
    "vgg19": Small({"num_classes": 10, "width": 8, "hidden": 32, "dropout": 0.0}, "float:N,3,32,32"),
    "ssd300_vgg16": Small({"num_classes": 5, "width": 8}, "float:N,3,64,64", exports=_BOXES),
    "retinanet_resnet50_fpn": Small(_RETINA, "float:N,3,160,160", overfits=40, rate=3e-4, exports=_BOXES),
    "fasterrcnn_resnet50_fpn": Small(_FASTER, "float:N,3,64,64", exports=_BOXES),
    "maskrcnn_resnet50_fpn": Small(_FASTER, "float:N,3,64,64", exports=_BOXES),
    "rcnn": Small({"num_classes": 5, "width": 12, "hidden": 32}, "float:N,3,227,227"),
    "fast_rcnn": Small(
        {"num_classes": 5, "width": 8, "hidden": 256}, "float:N,3,64,96 + box<64,96>:N,20", overfits=60, exports=_BOXES
    ),
}
