"""The HTTP surface: one file an endpoint family; wire JSON lives nowhere else."""
