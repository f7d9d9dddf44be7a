"""The whole declaration, checked offline."""
