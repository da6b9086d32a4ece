"""Beyond one process: training by `accelerate launch`, and job files for clusters."""
