from zoo_small import Small

SMALL = {"dcgan_generator": Small({"nz": 16, "ngf": 8}, input="float:N,16,1,1"), "dcgan_discriminator": Small({"ndf": 8})}
