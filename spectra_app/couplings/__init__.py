"""Our potential inside other programs: ASE, TorchSim, i-PI and LAMMPS move the atoms, dipoles are recorded.

One module per program, each importing its package only when it is itself imported or called.  What they share:
``evaluator`` calls the model again and again, ``recording`` writes the run file.
"""
