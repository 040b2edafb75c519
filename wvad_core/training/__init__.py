"""Training: the recipe (what a paper says), the loop, the run folder, the experiment."""
