"""What leaves a run: its pairs for other trainers, cards beside its models, adapters merged into weights."""
