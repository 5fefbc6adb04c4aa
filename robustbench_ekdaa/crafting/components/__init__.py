"""What attacks are composed of: small functions, a file per part of an attack card."""
