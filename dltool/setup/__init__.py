"""How to get from what is there to an environment that works: plans and the files that carry them, and making it.

Every version comes from `dltool.compat`, every command of a package source from the tables of `catalog/`.

wishes.py distro.py     what is wanted besides the question: purpose, manager, mirrors; the distribution and its releases
choice.py               torch, build, Python and exact requirements
steps_*.py              one subject each: driver, toolkit and cuDNN, Python and its packages
plan.py                 all of them in order
export.py               the environment of a plan as Dockerfile, conda, pip, uv and pixi files
freeze.py               an environment described for another machine, and that machine judged

recipe.py               the commands that make an environment, for each manager
workplace.py            the directory being filled: whose it is, how far it is, one run at a time, and back to what it was
running.py trouble.py   a command with its log and limit; what its last words mean
prove_child.py proof.py the new Python shows that it computes; what that says
apply.py removal.py     from nothing to a proved environment or back to nothing; taking one away
"""
