"""What a dataset is: recipe, identity, files, and how they are read and checked. It never imports torch."""
