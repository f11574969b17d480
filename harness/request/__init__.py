"""The user's request, and the plan of cells made from it. Reads profiles, and starts nothing."""
