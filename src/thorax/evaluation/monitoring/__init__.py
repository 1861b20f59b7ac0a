"""Whether the images that a model meets, and what it says of them, are still like validation's."""
