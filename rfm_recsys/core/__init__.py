"""What all four algorithms stand on: kernels, linear algebra, checks, files."""
