from zoo_small import Small

SMALL = {
    "ddpm_unet": Small(
        options={"block_out_channels": (16, 32, 32, 32), "layers_per_block": 1, "norm_num_groups": 4},
        input="float:N,3,16,16 + int<1000:N",
    ),
    "srcnn": Small(input="float:N,1,24,24", rate=5e-3),
    "srresnet": Small(options={"blocks": 2, "channels": 16}, input="float:N,3,8,8", rate=5e-3),
    "srgan_discriminator": Small(options={"channels": 8, "image_size": 32}, input="float:N,3,32,32"),
    "esrgan_rrdbnet": Small(options={"nf": 16, "nb": 2, "gc": 8}, input="float:N,3,8,8", rate=5e-3),
}
