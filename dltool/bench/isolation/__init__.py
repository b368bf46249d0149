"""One child process per case, so that a case which crashes, hangs or eats all memory costs one row and nothing else.

    Workers      the side of the caller: `call` runs a function in a child and gives back what it returned, or says how it died
    server       a small process that has imported torch once and forks a child for each call: a child starts in milliseconds
    memory       how much a child may take, and how much it has

    runs         the harness's `run` with a child for each case

The server never touches a device and starts no threads of its own, so that each child meets CUDA and OpenMP fresh. On a CPU
each case gets a child of its own. A CUDA context takes longer to make than many cases take to measure, so there a child is kept
for the next case until one dies, hangs or fails: a failed kernel poisons its context.
"""
