"""Training from energies and forces, and evaluation on every label."""
