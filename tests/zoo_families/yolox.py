from zoo_small import Small

SMALL = {
    "yolox_s": Small({"num_classes": 6, "width": 0.125}, input="float:N,3,64,64", rate=1e-2),
    "yolox_x": Small({"num_classes": 6, "depth": 0.33, "width": 0.125}, input="float:N,3,64,64", rate=1e-2),
    "yolox_darknet53": Small({"num_classes": 6, "stem": 4, "blocks": (1, 1, 1, 1)}, input="float:N,3,64,64", rate=1e-2),
}
