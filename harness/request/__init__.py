"""What a user asks for, and the plan of cells that it comes to. Pure."""
