"""``sagesched bench``: what the compiled core costs, after a check that it is right."""
