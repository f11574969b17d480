"""Base trees, and the series that are applied to them."""
