"""Our potential inside other programs, and other programs in its place.

ASE, TorchSim, i-PI and LAMMPS move the atoms with it, and dipoles are recorded; calculators of ASE are models as ours
are (``ase_potential``, ``open_model``).

One module per program, each importing its package only when it is itself imported or called.  What they share:
``evaluator`` calls the model again and again, ``recording`` writes the run file.
"""
