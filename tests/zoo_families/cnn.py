from zoo_small import Small

SMALL = {
    "mlp": Small(),
    "lenet5": Small(),
    "lenet5_d2l": Small(rate=1e-2),
    "alexnet": Small({"num_classes": 10, "hidden": 64}, "float:N,3,64,64"),
    "zfnet": Small({"num_classes": 10, "hidden": 64}),
    "nin": Small(input="float:N,1,67,67"),
    "googlenet": Small({"num_classes": 10}, "float:N,3,32,32"),
    # its auxiliary head needs 299 pixels, and is trained in test_zoo_inception.py
    "inception_v3": Small({"num_classes": 10, "aux_logits": False}, "float:N,3,80,80"),
    "xception": Small({"num_classes": 10}, "float:N,3,32,32"),
}
