"""Several methods side by side: what sets them apart, and what chance could have done."""
