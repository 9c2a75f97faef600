"""How long passes of an 8B decoder take on a GPU, and what step-time models say of it."""
