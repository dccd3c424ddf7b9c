"""Labels for training: structures sampled, energies and forces of any calculator of ASE, checks, extended XYZ."""
