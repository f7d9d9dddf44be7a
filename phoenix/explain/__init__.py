"""How one name travels, and what declares it."""
