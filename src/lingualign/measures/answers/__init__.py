"""Answers that anybody made: read from files, matched with a baseline's, judged, compared."""
