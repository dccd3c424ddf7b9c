"""Files of other programs: trajectories of atoms, series of dipoles and polarizabilities."""
