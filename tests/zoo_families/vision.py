from zoo_small import Small

SMALL = {
    "seresnet50": Small({"layers": (1, 1, 1, 1)}, input="float:N,3,64,64"),
    "densenet121": Small(
        {"growth_rate": 8, "block_config": (2, 2, 2, 2), "num_init_features": 16}, input="float:N,3,64,64", rate=1e-2
    ),
    "mobilenet_v2": Small({"width_mult": 0.25, "dropout": 0.0}, input="float:N,3,64,64", rate=1e-2),
    "mobilenet_v3_large": Small({"width_mult": 0.25, "dropout": 0.0}, input="float:N,3,64,64", rate=1e-2),
    "efficientnet_b0": Small(
        {"width_mult": 0.25, "depth_mult": 0.3, "dropout": 0.0, "stochastic_depth_prob": 0.0},
        input="float:N,3,64,64",
        rate=1e-2,
    ),
    "convnext_tiny": Small({"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}, input="float:N,3,64,64", rate=1e-2),
    "vit_b_16": Small(
        {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 96},
        input="float:N,3,32,32",
    ),
    "swin_t": Small(
        {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "stochastic_depth_prob": 0.0},
        input="float:N,3,64,64",
        rate=1e-2,
    ),
    "mixer_b_16": Small({"img_size": 32, "patch_size": 8, "num_blocks": 2, "embed_dim": 64}, input="float:N,3,32,32"),
    "clip_vit_b_32": Small(
        {
            "vocab_size": 100,
            "max_position_embeddings": 12,
            "eos_token_id": 99,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
            "text_width": 32,
            "vision_width": 32,
            "head_dim": 16,
            "num_hidden_layers": 2,
        },
        input="int<100:N,12 + float:N,3,32,32",
    ),
}
