from zoo_small import Small

SMALL = dict.fromkeys(("resnet18", "resnet50", "resnext50_32x4d"), Small(input="float:N,3,64,64"))
