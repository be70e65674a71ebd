"""What genreclf costs, and scripts that repeat what the documents say about speed; none of it is installed."""
