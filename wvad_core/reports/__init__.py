"""What an evaluation found: the report, its text and its pictures."""
