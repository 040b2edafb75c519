"""The extractors' networks, a module each."""
