"""What "better" means: win rates with intervals, the language of responses, their length, and who judges."""
