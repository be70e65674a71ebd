"""What the framework costs: each part against a plain way of doing the same, in one run on one machine."""
