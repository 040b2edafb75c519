"""Feature folders made of videos: which videos there are, what an extractor makes of each, and how several processes share them."""
