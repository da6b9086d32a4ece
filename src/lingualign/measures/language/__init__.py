"""In which language answers are: confusion, code switching, and the benchmark of it."""
