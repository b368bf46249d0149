from zoo_small import Small

SMALL = {
    "gcn": Small(
        options={"nfeat": 128, "nhid": 32, "nclass": 3, "dropout": 0.1},
        input="float:90,128 + adjacency:90,90",
        rate=1e-2,
    ),
    "siamese": Small(input="float:N,1,28,28 + float:N,1,28,28"),
    "siamese_koch": Small(options={"widths": (8, 8, 8, 16), "features": 64}),
}
