"""Tasks with right answers, and translations with references."""
